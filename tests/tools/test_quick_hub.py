"""tests/quick_hub.py: what is remembered between hubs is what pop would find out anew."""

import functools
import inspect
import os
import sys

import pop.hub
import pop.loader
import pytest

from evbus_like.testing import new_hub
from tests import quick_hub


def write(folder, name, paths):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "conf.py").write_text(f"CONFIG = {{'a': {{'default': 1}}}}\nDYNE = {paths!r}\n")


def forget(patch):
    """Give pop its own functions back."""
    patch.setattr(pop.dirs, "os", os)
    patch.setattr(pop.dirs, "exec", exec)
    patch.setattr(pop.loader, "check_param_alias", quick_hub.check_aliases)
    patch.setattr(pop.contract.Contracted, "_get_contracts_by_type", quick_hub.find_contracts)
    for module in (pop.contract, pop.verify):
        patch.setattr(module, "inspect", inspect)


def test_the_folders_of_plugins_are_those_that_pop_finds_whatever_becomes_of_the_path(tmp_path, monkeypatch):
    for change in (
        lambda: None,
        lambda: monkeypatch.syspath_prepend(tmp_path),
        lambda: write(tmp_path, "one", {"match": ["match"], "theirs": ["theirs"]}),
        lambda: write(tmp_path, "two", {"match": ["match"]}),
        lambda: write(tmp_path, "two", {"theirs": ["theirs"]}),
        lambda: (tmp_path / "one" / "conf.py").unlink(),
        lambda: monkeypatch.setattr(sys, "path", sys.path[1:]),
    ):
        change()
        quick = pop.dirs.dynamic_dirs()
        with monkeypatch.context() as patch:
            forget(patch)
            assert pop.dirs.dynamic_dirs() == quick


def test_what_a_hub_does_to_its_folders_is_not_in_the_next():
    new_hub()._dynamic["match"]["paths"].clear()
    assert new_hub()._dynamic["match"]["paths"]


def test_signatures_are_those_of_inspect():
    @functools.wraps(write)
    def wrapper(*arguments):
        return wrapper

    def typed(a: int, *b: str, c: int, **d: str) -> None: ...

    def closing(a, /, b, *c, d, **e):
        return wrapper, typed

    bare = (lambda *_: True, lambda a, b=1: 2, lambda a, b=3: 2)
    for function in (*bare, wrapper, typed, closing, write, len, pop.hub.Hub):
        for _ in range(2):
            assert quick_hub.signature(function) == inspect.signature(function)


def test_aliases_of_parameters_are_found_and_checked_for_every_hub():
    class Contracted(pop.loader.pop.contract.Contracted):
        def __init__(self, func):
            self.func, self.ref, self.__name__, self.param_aliases = func, "a.b", "f", {}
            self.signature = inspect.signature(func)

    def aliased(a): ...

    def twice(a, c): ...

    aliased.__annotations__ = {"a": "int, alias=b"}
    twice.__annotations__ = {"a": "int, alias=b", "c": "int, alias=b"}

    for _ in range(2):
        found = Contracted(aliased)
        quick_hub.check_param_alias(found)
        assert found.param_aliases == {"a": {"a", "b"}}
        with pytest.raises(SyntaxError):
            quick_hub.check_param_alias(Contracted(twice))
        quick_hub.check_param_alias(Contracted(write))


def test_the_contracts_around_a_function_are_those_that_pop_finds(package, monkeypatch):
    contract = "def pre_put(hub, ctx): ...\ndef call(hub, ctx): ...\ndef post(hub, ctx): ..."
    monkeypatch.syspath_prepend(package({"evbus/contracts/broker.py": contract}))
    found = {}
    for name, contracted in new_hub().evbus.broker._funcs.items():
        for kind in ("pre", "call", "post"):
            found[name, kind] = quick_hub.contracts_by_type(contracted, kind)
            assert found[name, kind] == quick_hub.find_contracts(contracted, kind)
    assert len(found["put", "pre"]) == len(found["put", "call"]) == len(found["dispatch", "post"]) == 1
    assert found["dispatch", "pre"] == []


def test_a_hub_has_what_it_has_without_the_memory(monkeypatch):
    def names(hub):
        subs = {name: getattr(hub, name) for name in hub._subs}
        return {(name, mod): sorted(sub._loaded[mod]._attrs) for name, sub in subs.items() for mod in sub._loaded}

    quick = names(new_hub())
    forget(monkeypatch)
    assert names(new_hub()) == quick
