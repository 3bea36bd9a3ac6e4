"""What workers of a handler with shards announce: anybody may send something else."""

import json

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp.members import Announcement, decode
from evbus_like.amqp.sharing import Member

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.sets(st.integers(0, 255)), st.integers(0, 256), st.floats(1.0, 60.0), st.booleans())
def test_an_announcement_arrives_as_it_was_sent(shards, known, every, asks):
    said = Announcement(Member("a", frozenset(shards), known), "north, process 7", every, asks)
    assert decode(said.encode()) == said


@given(st.one_of(st.binary(), ANYTHING, st.lists(ANYTHING, min_size=6, max_size=6)))
def test_what_is_no_announcement_is_passed_over(sent):
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    said = decode(body)
    assert said is None or (said.place.isprintable() and 1.0 <= said.every <= 60.0 and 0 <= said.member.known <= 256)


def test_an_announcement_that_is_too_large_is_passed_over():
    assert decode(Announcement(Member("a", frozenset(), 1), "x" * 20_000).encode()) is None
    assert decode(b"[" * 9_000) is None
    assert decode(b'["a", [%s], 1, "x", 1, false]' % (b"1" * 9_000)) is None
