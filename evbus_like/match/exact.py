"""The same name, and no other."""

from collections.abc import Callable
from typing import Any

__func_alias__ = {"compile_": "compile"}


def find(hub: Any, name: str, pattern: str) -> bool:
    """Return whether the pattern is the name."""
    return name == pattern


def compile_(hub: Any, pattern: str) -> Callable[[str], bool]:
    """Return the test for one pattern."""
    return pattern.__eq__
