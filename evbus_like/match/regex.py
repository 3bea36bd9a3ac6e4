"""Regular expressions that must match the whole name; matching that takes too long is stopped.

Python's `re` cannot be stopped: while it matches `(a|a)*b` with forty letters, which takes years, no task, thread or
signal handler of the process runs. The library regex reads the same expressions and has a deadline.
"""

import re
from collections.abc import Callable
from typing import Any

__func_alias__ = {"compile_": "compile"}

DEADLINE = 0.1  # seconds for one name; a name is matched once, and a good expression takes microseconds


def find(hub: Any, name: str, pattern: str) -> bool:
    """Return whether `pattern` matches the whole of `name`; raises re.error, and TimeoutError after the deadline."""
    return compile_(hub, pattern)(name)


def compile_(hub: Any, pattern: str) -> Callable[[str], bool]:
    """Return the test for one pattern, which raises TimeoutError after the deadline; raises re.error."""
    import regex  # not above: the import takes longer than the rest of a start in memory

    re.compile(pattern)  # refuses what only the library understands, with the error messages of `re`
    matches = regex.compile(pattern).fullmatch

    def test(name: str) -> bool:
        try:
            return matches(name, timeout=DEADLINE) is not None
        except TimeoutError:
            raise TimeoutError(
                f"the regular expression was stopped after {DEADLINE:g} s. A repeat inside a repeat, or alternatives"
                " that overlap, as in (a|a)*, can take for ever: simplify it"
            ) from None

    return test
