"""Regular expressions, which must match the whole name; one that takes too long is stopped.

Python's own `re` cannot be stopped: while it tries `(a|a)*b` on forty letters, for years, no task, thread or signal of
the process gets a turn. The library regex reads the same expressions and takes a deadline.
"""

import re

__func_alias__ = {"compile_": "compile"}

DEADLINE = 0.1  # seconds for one name; a name is looked at once, and a sound expression takes microseconds


def find(hub, name: str, pattern: str) -> bool:
    """Whether `pattern` matches the whole of `name`; raises re.error, and TimeoutError after the deadline."""
    return compile_(hub, pattern)(name)


def compile_(hub, pattern: str):
    """Give the test for one pattern, which raises TimeoutError after the deadline; raises re.error."""
    import regex  # here, for it takes longer to import than all the rest of a start in memory

    re.compile(pattern)  # what only the library understands is refused, and the messages are those that people know
    matches = regex.compile(pattern).fullmatch

    def test(name: str) -> bool:
        try:
            return matches(name, timeout=DEADLINE) is not None
        except TimeoutError:
            raise TimeoutError(
                f"the regular expression was stopped after {DEADLINE:g} s. A repeat inside a repeat, or alternatives"
                " that overlap, as in (a|a)*, can take for ever: write it simpler"
            ) from None

    return test
