"""The messages that the pages quote are those of the code, so that who searches for one finds it."""

import ast
import re
from functools import cache

import pytest

from tests.docs.blocks import DOCS, ROOT

ANY = "\0"  # what a message fills in
PLACEHOLDER = re.compile(r"%(?:\.\d+)?[sdrgi]")
SHINGLE = 7  # letters in a row that a quote and a message must share
FOREIGN = ("'Hub' object has no attribute", "NOT_FOUND", "PRECONDITION_FAILED", "database or disk is full")


@cache
def messages():
    """Every text of the package, with one character in place of what it fills in."""
    found = set()
    for path in (ROOT / "evbus_like").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(PLACEHOLDER.sub(ANY, node.value))
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values))
    return [text for text in found if " " in text]


def literal(quote, message):
    """How many characters of the quote are the message's own, if the quote is a part of what it may say, else 0."""
    best = {0: 0, **dict.fromkeys(range(len(message)), 0)}  # position in the message: characters so far
    for letter in quote:
        after = {}
        for place, count in best.items():
            if place >= len(message):
                continue
            if message[place] == ANY:
                after[place] = max(after.get(place, 0), count)  # the value goes on
                if message[place + 1 : place + 2] == letter:
                    after[place + 2] = max(after.get(place + 2, 0), count + 1)
            elif message[place] == letter:
                after[place + 1] = max(after.get(place + 1, 0), count + 1)
        best = after
    return max(best.values(), default=0)


def is_said(quote):
    """Whether some message of the package, filled in, contains the quote."""
    quote = quote.strip(" .:;,")
    shingles = {quote[at : at + SHINGLE] for at in range(len(quote) - SHINGLE + 1)}
    near = (text for text in messages() if any(shingle in text for shingle in shingles))
    return any(literal(quote, text) >= max(SHINGLE, len(quote) // 3) for text in near)


def quotes():
    """The quoted messages: those in bold in the page on trouble."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for bold in re.findall(r"^(\*\*.*?\*\*(?:, \*\*.*?\*\*)*)", text, re.MULTILINE):
        for quote in re.findall(r"`([^`]+ [^`]+)`", bold):
            if not any(word in quote for word in FOREIGN):
                yield from (part for part in quote.split("...") if len(part.strip(" .:;,'")) >= SHINGLE)


@pytest.mark.parametrize("quote", sorted(set(quotes())))
def test_a_quoted_message_is_one_of_the_code(quote):
    assert is_said(quote)


def test_a_quote_may_show_values_and_must_be_literal_for_the_rest():
    message = f"the outbox {ANY} is in use"
    assert literal("the outbox /a is in use", message) == len("the outbox  is in use")
    assert literal("the outbox /a is in vain", message) == len("the outbox ")  # the rest can only be a value
    assert not is_said("a message that this package does not have")
