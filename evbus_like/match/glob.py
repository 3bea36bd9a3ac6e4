"""Shell patterns: `*`, `?` and `[...]`; a name without them matches itself. Upper and lower case differ."""

import fnmatch
import re

__func_alias__ = {"compile_": "compile"}


def find(hub, name: str, pattern: str) -> bool:
    """Whether `pattern` matches `name`."""
    return fnmatch.fnmatchcase(name, pattern)


def compile_(hub, pattern: str):
    """Give the test for one pattern."""
    if not any(sign in pattern for sign in "*?["):
        return pattern.__eq__
    matches = re.compile(fnmatch.translate(pattern)).match
    return lambda name: matches(name) is not None
