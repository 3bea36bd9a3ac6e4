"""The public errors: one module, one tree."""

import inspect
import re

from evbus_like import errors
from evbus_like.engine import errors as engine_errors

LINE = re.compile(r"^(?P<bars>[│ ]*)[├└]── (?P<name>\w+) +\w")


def drawn() -> dict[str, str]:
    """Return the tree of the docstring: {error: its parent}."""
    parents, path = {}, ["EvbusError"]
    for line in errors.__doc__.splitlines():
        if found := LINE.match(line):
            depth = len(found["bars"]) // 4 + 1
            parents[found["name"]] = path[depth - 1]
            path[depth:] = [found["name"]]
    return parents


def public(module: object) -> dict[str, type]:
    return {name: each for name, each in vars(module).items() if inspect.isclass(each) and name[0].isalpha()}


def test_every_error_is_public():
    ours = {name for name, each in public(engine_errors).items() if issubclass(each, engine_errors.EvbusError)}
    assert ours == set(errors.__all__) == set(public(errors))


def test_the_docstring_draws_the_tree_as_it_is():
    real = {name: each.__mro__[1].__name__ for name, each in public(errors).items() if name != "EvbusError"}
    assert drawn() == real


def test_every_error_has_a_sentence():
    assert [name for name, each in public(errors).items() if not each.__doc__] == []
