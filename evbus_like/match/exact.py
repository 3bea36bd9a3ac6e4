"""The very same name, and nothing else."""

__func_alias__ = {"compile_": "compile"}


def find(hub, name: str, pattern: str) -> bool:
    """Whether `pattern` is `name`."""
    return name == pattern


def compile_(hub, pattern: str):
    """Give the test for one pattern."""
    return pattern.__eq__
