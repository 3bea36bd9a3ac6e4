"""engine/dead_reasons.py: dead letters that were given up for the same are one group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine import dead_reasons
from evbus_like.engine.dead_reasons import MOST, OTHERS, DeadReasons, group_of, parts_of

SAME = [
    ("the body is 70412 bytes, and amqp:a takes at most 65536", "the body is … bytes, and amqp:a takes at most …"),
    ("order 0195f1a2-7b1c-7d30-8a5e-0c1f2e3d4a5b is unknown", "order … is unknown"),
    ("event bb39eb60db574b35841f-9 came twice", "event … came twice"),
    ("too late: 2026-11-30T02:09:37.257+00:00", "too late: …"),
    ("given up after 3 attempts: KeyError: 'price'\n  more", "given up after 3 attempts: KeyError: 'price'"),
    ("404 NOT_FOUND - no queue 'deadbeef'", "404 NOT_FOUND - no queue 'deadbeef'"),
    ("\n\n", "unknown"),
]


@pytest.mark.parametrize(("reason", "group"), SAME, ids=[group for _, group in SAME])
def test_ids_times_and_long_numbers_make_no_group_of_their_own(reason, group):
    assert group_of(reason) == group


@given(st.text(max_size=300))
def test_a_group_is_short_one_line_and_its_own_group_and_its_parts_are_in_the_reason(reason):
    group = group_of(reason)
    assert len(group) <= dead_reasons.LONGEST + 1
    assert len(group.splitlines()) == 1
    if "…" not in reason:
        assert group == "unknown" or all(part in reason for part in parts_of(group))


def test_counts_are_bounded_and_the_largest_comes_first():
    reasons = DeadReasons()
    for number in range(10 * MOST):
        reasons.add(f"reason {number}")
    reasons.add("reason 5", 7)

    counts = reasons.as_dict()
    assert len(counts) == MOST + 1
    assert counts[OTHERS] == 9 * MOST
    assert [*counts][:2] == [OTHERS, "reason 5"]
    assert sum(counts.values()) == 10 * MOST + 7
