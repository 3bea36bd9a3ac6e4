"""Hubs that are made in half the time: what pop finds out for every hub anew is remembered for the next one.

A test makes a hub of its own. That costs 60 ms, most of it for the same packages and signatures again. Nothing is
remembered that a test may change: folders on `sys.path` outside of the Python installation are read for every hub.
`tests/unit/test_quick_hub.py` compares with pop itself.
"""

import inspect
import os
import pickle
import sys
from functools import lru_cache
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import pop.contract
import pop.dirs
import pop.hub
import pop.loader
import pop.verify

INSTALLED = (*{sys.prefix, sys.base_prefix},)
read_dirs = pop.dirs.dynamic_dirs
check_aliases = pop.loader.check_param_alias
find_contracts = pop.contract.Contracted._get_contracts_by_type

_dirs: dict[Any, bytes] = {}
_without_aliases: set[Any] = set()


def install() -> None:
    """Put the functions that remember in the place of pop's own."""
    pop.dirs.dynamic_dirs = dynamic_dirs
    for module in (pop.contract, pop.verify):
        module.inspect = SimpleNamespace(**{**vars(inspect), "signature": signature})
    pop.verify.sig = lru_cache(2000)(pop.verify.sig)
    pop.loader.check_param_alias = check_param_alias
    pop.contract.Contracted._get_contracts_by_type = contracts_by_type


def dynamic_dirs() -> dict[str, Any]:
    """Give what pop's function gives: the folders of plugins, and the configuration, of all packages on the path."""
    key = tuple((path, None if path.startswith(INSTALLED) else _configurations(path)) for path in sys.path)
    if key not in _dirs:
        _dirs[key] = pickle.dumps(read_dirs())
    return pickle.loads(_dirs[key])  # type: ignore[no-any-return]


def _configurations(folder: str) -> tuple[tuple[str, bytes], ...]:
    """The conf.py of each package in a folder."""
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            with open(os.path.join(folder, name, "conf.py"), "rb") as file:
                found.append((name, file.read()))
        except OSError:
            continue
    return tuple(found)


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
