"""Hubs that are made in half the time: what pop finds out for every hub anew is remembered for the next one.

A test makes a hub of its own. That costs 60 ms, most of it for the same packages and signatures again. Nothing is
remembered that a test may change: folders on `sys.path` outside of the Python installation are read for every hub.
`tests/tools/test_quick_hub.py` compares with pop itself.
"""

import inspect
import os
import sys
from functools import lru_cache, partial
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import pop.contract
import pop.dirs
import pop.hub
import pop.loader
import pop.verify

INSTALLED = (*{sys.prefix, sys.base_prefix},)
check_aliases = pop.loader.check_param_alias
find_contracts = pop.contract.Contracted._get_contracts_by_type

_without_aliases: set[Any] = set()


def install() -> None:
    """Put the functions that remember in the place of pop's own."""
    pop.dirs.os = SimpleNamespace(**{**vars(os), "listdir": listdir})
    pop.dirs.exec = execute
    for module in (pop.contract, pop.verify):
        module.inspect = SimpleNamespace(**{**vars(inspect), "signature": signature})
    pop.verify.sig = lru_cache(2000)(pop.verify.sig)
    pop.loader.check_param_alias = check_param_alias
    pop.contract.Contracted._get_contracts_by_type = contracts_by_type


@lru_cache
def _packages(folder: str) -> list[str]:
    """The entries of an installed folder in which pop finds something: packages with a conf.py, and links to such."""
    return [
        name
        for name in os.listdir(folder)
        if name.endswith(".egg-link") or os.path.isfile(os.path.join(folder, name, "conf.py"))
    ]


def listdir(folder: str) -> list[str]:
    """Give the entries of a folder; of an installed one, those that matter to pop."""
    return _packages(folder) if folder.startswith(INSTALLED) else os.listdir(folder)


compiled = lru_cache(100)(partial(compile, filename="conf.py", mode="exec"))


def execute(source: str, context: dict[str, Any]) -> None:
    """Execute a conf.py."""
    exec(compiled(source), context)


def signature(function: Any) -> inspect.Signature:
    """Give the signature of a function; of a bare one, which pop makes for every module, by its code."""
    if type(function) is FunctionType and not (
        function.__defaults__ or function.__kwdefaults__ or function.__annotations__ or function.__dict__
    ):
        return _signature_of_code(function.__code__)
    return _signature(function)


_signature = lru_cache(2000)(inspect.signature)


@lru_cache(2000)
def _signature_of_code(code: Any) -> inspect.Signature:
    return inspect.signature(FunctionType(code, {}, closure=tuple(map(CellType, code.co_freevars))))


def check_param_alias(contracted: Any) -> None:
    """Look for aliases in the annotations of a function, unless it is known to have none."""
    if contracted.func not in _without_aliases:
        check_aliases(contracted)
        if not contracted.param_aliases:
            _without_aliases.add(contracted.func)


def contracts_by_type(contracted: Any, contract_type: str = "pre") -> list[Any]:
    """Give the functions of contracts that are called around a function; most have none."""
    names = (f"{contract_type}_{contracted.__name__}", contract_type)
    for contract in contracted.contracts:
        if any(name in contract._attrs or name in vars(contract) for name in names):
            return find_contracts(contracted, contract_type)  # type: ignore[no-any-return]
    return []
