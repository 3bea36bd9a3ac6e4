"""engine/outbox/record.py: an event as a record and back, with nothing changed; damaged segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.outbox.record import pack, remains, size, split, time_of, unpack
from tests.unit.fakes import same
from tests.unit.outboxes import content, events, make

RECORDS = [pack(make(b"body %d" % n, headers={"n": n})) for n in range(20)]


@given(events)
def test_an_event_comes_back_as_it_was(event):
    record = pack(event)
    found = unpack(record)

    assert split(record, 1) == [(record, True)]
    assert content(found)[:3] == content(event)[:3]
    assert same(found.headers, event.headers)
    assert same(list(content(found)[4:]), list(content(event)[4:]))
    assert time_of(record) == event.timestamp
    assert (found.receipt, found.quiet) == (None, False)


@pytest.mark.parametrize("name", ["routing_key", "profile", "key", "content_type"])
def test_text_that_is_no_utf8_is_refused_by_name(name):
    with pytest.raises(BadEvent, match=f"{name} '.udc00' holds a lone surrogate"):
        pack(make(**{name: "\udc00"}))


def test_what_no_file_can_hold_is_refused_with_the_id():
    event = make(headers={"n": 2**70})

    with pytest.raises(BadEvent, match=f"cannot hold the event {event.id}"):
        pack(event)


def test_the_size_counts_everything_that_is_stored():
    small, large = pack(make()), pack(make(b"x" * 1000, headers={"h": "y" * 500}, key=b"z" * 100))

    assert size(large) - size(small) >= 1590


@given(st.integers(0, len(b"".join(RECORDS)) - 1), st.integers(1, 255), st.integers(1, 8))
def test_bytes_that_rot_cost_the_records_they_are_in_and_no_other(place, change, length):
    held = bytearray(b"".join(RECORDS))
    for each in range(place, min(place + length, len(held))):
        held[each] ^= change
    found = split(bytes(held), len(RECORDS))

    assert len(found) == len(RECORDS)
    begin = 0
    for record, (piece, intact) in zip(RECORDS, found, strict=True):
        hit = begin < place + length and place < begin + len(record)
        assert intact == (not hit)
        assert hit or piece == record
        begin += len(record)


@given(st.lists(st.integers(0, len(b"".join(RECORDS)) - 1), max_size=6))
def test_whatever_rots_the_records_that_are_intact_are_found_in_their_order(places):
    held = bytearray(b"".join(RECORDS))
    for place in places:
        held[place] ^= 0x55
    found = split(bytes(held), len(RECORDS))

    assert len(found) == len(RECORDS)
    intact = [piece for piece, whole in found if whole]
    assert [record for record in RECORDS if record in intact] == intact
    assert len(intact) >= len(RECORDS) - len(places)


@pytest.mark.parametrize("end", [0, 1, 15, 17, 100, 500, 1000])
def test_of_a_segment_that_is_torn_the_first_records_are_left(end):
    held = b"".join(RECORDS)
    found = split(held[:end], len(RECORDS))

    whole = [record for n, record in enumerate(RECORDS) if sum(map(len, RECORDS[: n + 1])) <= end]
    assert [piece for piece, intact in found if intact] == whole
    assert len(found) == len(RECORDS)


def test_a_segment_with_a_damaged_count_keeps_all_its_records():
    held = b"".join(RECORDS)

    assert split(held, 3) == [(record, True) for record in RECORDS]
    assert split(held, 25) == [(record, True) for record in RECORDS] + [(b"", False)] * 5


def test_a_damaged_record_becomes_its_event_or_its_bytes():
    record = pack(make(b"body"))

    assert remains(record.replace(b"body", b"bodx"), 7).body == b"bodx"
    torn = remains(record[:30], 7)
    assert (torn.id, torn.body) == ("damaged-7", record[:30])
