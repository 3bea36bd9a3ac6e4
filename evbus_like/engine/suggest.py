"""What messages say of wrong values: a similar name, a short form, and what is wrong with a text."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """Return "did you mean 'x'?", or the list of names if none is similar."""
    names = sorted(right)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is: {', '.join(names)}" if names else "there is none"


def printable(text: str) -> str:
    """Return a name for a message, in one line: a stranger may have written line breaks into it."""
    return text if text.isprintable() else ascii(text)[1:-1]


def shown(value: object) -> str:
    """Return a wrong value for a message, in one short line."""
    try:
        text = repr(value)
    except Exception:  # such as an int of more than 4300 digits
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text)} characters)"


def text_problem(text: str, is_path: bool = False) -> str:
    """Return why a text can be sent nowhere, or be no path, or an empty string."""
    if "\0" in text:
        return "must not contain a NUL character"
    try:
        os.fsencode(text) if is_path else text.encode()
    except UnicodeEncodeError as error:
        return f"must not contain {text[error.start]!a}, a lone surrogate, which is not valid UTF-8 text"
    return ""
