"""kafka/marks.py: marks on offsets are those of a set, in an eighth of a byte each."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.kafka.marks import CHUNK, Marks

RANGES = {0: (0, 50), 1: (CHUNK - 5, CHUNK + 5), 3: (2**60, 2**60 + 20)}
INSIDE = {(number, offset) for number, (begin, end) in RANGES.items() for offset in range(begin, end)}
places = st.sets(
    st.one_of(
        st.sampled_from(sorted(INSIDE)), st.tuples(st.integers(-1, 4), st.integers(-(2**70), 2**70)),
        st.tuples(st.sampled_from([0, 1, 3]), st.sampled_from([-1, 50, CHUNK + 5, 2**60 - 1])),
    )
)  # fmt: skip


@given(places, places)
def test_marks_are_those_of_a_set_within_the_ranges(one, other):
    first, second = Marks(RANGES), Marks(RANGES)
    for marks, given_places in ((first, one), (second, other)):
        for place in given_places:
            marks.add(*place)

    assert {place for place in INSIDE | one if place in first} == one & INSIDE
    assert first.without(second) == len((one & INSIDE) - other)


def test_a_million_letters_take_little_memory():
    marks = Marks({0: (0, 1_000_000)})
    for offset in range(1_000_000):
        marks.add(0, offset)

    assert marks.without(Marks({})) == 1_000_000
    assert sum(sys.getsizeof(piece) for piece in marks._pieces.values()) < 200_000
