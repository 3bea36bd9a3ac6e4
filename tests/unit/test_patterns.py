"""engine/receiving/subscription.py: the patterns of AMQP's topic exchanges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.receiving.subscription import is_pattern, matches


def slow(pattern, words):
    """The definition, tried in every way."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(slow(pattern[1:], words[first:]) for first in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and slow(pattern[1:], words[1:])


words = st.lists(st.sampled_from(["a", "b", "", "cc"]), max_size=6)


@given(st.lists(st.sampled_from(["a", "b", "*", "#", "cc"]), min_size=1, max_size=6), words)
def test_a_pattern_means_what_the_definition_says(pattern, words):
    event_type = ".".join(words)
    assert matches(".".join(pattern), event_type) == slow(pattern, event_type.split(".") if event_type else [])


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("user.*", "user.made", True),
        ("user.*", "user", False),
        ("user.*", "user.made.twice", False),
        ("user.#", "user", True),
        ("user.#", "user.made.twice", True),
        ("#", "", True),
        ("*", "", False),
        ("#.made", "made", True),
        ("*.*", "a.", True),
        ("a", "A", False),
    ],
)
def test_patterns_of_rabbitmqs_tutorial(pattern, event_type, expected):
    assert matches(pattern, event_type) is expected


def test_a_pattern_of_many_hashes_costs_no_more_than_others():
    assert not matches(".".join(["#", "a"] * 30) + ".z", ".".join(["a"] * 120))


def test_what_is_a_pattern():
    assert [is_pattern(text) for text in ("a.b", "a.*", "#", "a*", "")] == [False, True, True, False, False]
