"""Regular expressions, which must match the whole name."""

import re

__func_alias__ = {"compile_": "compile"}


def find(hub, name: str, pattern: str) -> bool:
    """Whether `pattern` matches the whole of `name`; raises re.error."""
    return re.fullmatch(pattern, name) is not None


def compile_(hub, pattern: str):
    """Give the test for one pattern; raises re.error."""
    matches = re.compile(pattern).fullmatch
    return lambda name: matches(name) is not None
