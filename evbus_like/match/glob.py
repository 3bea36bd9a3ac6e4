"""Shell patterns: `*`, `?` and `[...]`; a name without them matches itself. Case matters."""

import fnmatch
import re
from collections.abc import Callable
from typing import Any

__func_alias__ = {"compile_": "compile"}


def find(hub: Any, name: str, pattern: str) -> bool:
    """Return whether `pattern` matches `name`."""
    return fnmatch.fnmatchcase(name, pattern)


def compile_(hub: Any, pattern: str) -> Callable[[str], bool]:
    """Return the test for one pattern."""
    if not any(sign in pattern for sign in "*?["):
        return pattern.__eq__
    matches = re.compile(fnmatch.translate(pattern)).match
    return lambda name: matches(name) is not None
