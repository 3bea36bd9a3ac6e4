"""kafka/offsets.py: what may be committed, against a slow and simple model."""

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.kafka.offsets import Offsets, Partition


def test_nothing_is_due_of_a_partition_of_which_nothing_was_read():
    offsets = Offsets()
    offsets.of("p")
    assert offsets.due() == {}


def test_what_is_committed_stays_before_the_oldest_record_that_is_not_settled():
    partition = Partition()
    for offset in (5, 6, 7):
        partition.take(offset, "event")
    partition.settle(7)
    partition.settle(6)
    assert partition.position == 5
    assert partition.ahead == 3
    partition.settle(5)
    assert partition.position == 8
    assert partition.ahead == 0


def test_records_that_nobody_wants_are_committed_with_the_others():
    partition = Partition()
    partition.skip(3)
    assert partition.position == 4
    partition.take(4, "event")
    partition.skip(5)
    assert partition.position == 4


def test_gaps_between_offsets_are_passed_over():
    partition = Partition()
    partition.take(10, "event")
    partition.take(20, "event")
    partition.settle(10)
    assert partition.position == 20


def test_what_was_committed_is_due_no_more():
    offsets = Offsets()
    offsets.of("p").skip(1)
    offsets.of("q").skip(7)
    assert offsets.due() == {"p": 2, "q": 8}
    offsets.committed({"p": 2})
    assert offsets.due() == {"q": 8}


def test_what_is_settled_after_its_partition_was_given_away_is_not_due_for_the_next_reading_of_it():
    offsets = Offsets()
    old = offsets.of("p")
    old.take(1, "event")
    offsets.drop("p")
    new = offsets.of("p")
    new.take(1, "event")
    old.settle(1)
    assert offsets.due() == {"p": 1}


def test_settling_twice_counts_once():
    partition = Partition()
    partition.take(1, "event")
    assert partition.settle(1)
    assert not partition.settle(1)


steps = st.lists(st.tuples(st.sampled_from(["take", "pass", "settle"]), st.integers(1, 4), st.integers(0, 50)))


@given(steps)
def test_position_is_always_the_oldest_unsettled_offset_or_else_the_next(steps):
    partition, unsettled, following = Partition(), [], None
    for verb, gap, which in steps:
        if verb == "settle":
            if unsettled:
                partition.settle(unsettled.pop(which % len(unsettled)))
        else:
            offset = (following or 0) + gap - 1
            following = offset + 1
            if verb == "take":
                partition.take(offset, "event")
                unsettled.append(offset)
            else:
                partition.skip(offset)
        assert partition.position == min(unsettled, default=following)
        assert set(partition.open) == set(unsettled)


@given(steps)
def test_what_is_kept_is_bounded_by_what_is_read_ahead(steps):
    partition, offset, unsettled = Partition(), 0, []
    for verb, _, which in steps:
        if verb == "settle" and unsettled:
            partition.settle(unsettled.pop(which % len(unsettled)))
        else:
            partition.take(offset, "event")
            unsettled.append(offset)
            offset += 1
        assert partition.ahead >= len(partition._order)
