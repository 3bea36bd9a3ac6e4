"""engine/histogram.py: how many took how long."""

import pytest

from evbus_like.engine.histogram import BOUNDS, Histogram


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(0.0, 0.0005), (0.0005, 0.0005), (0.00051, 0.001), (0.3, 0.5), (30.0, 30.0), (31.0, None)],
)
def test_a_duration_counts_in_every_bucket_that_is_as_long(seconds, bound):
    made = Histogram()
    made.add(seconds)

    found = made.as_dict()
    assert (found["count"], found["sum"]) == (1, seconds)
    assert [limit for limit in BOUNDS if found["buckets"][str(limit)]] == [b for b in BOUNDS if bound and b >= bound]


def test_counts_and_sums_add_up():
    made = Histogram()
    for seconds in (0.001, 0.002, 40.0):
        made.add(seconds)

    found = made.as_dict()
    assert (found["count"], found["sum"]) == (3, 40.003)
    assert (found["buckets"]["0.001"], found["buckets"]["0.0025"], found["buckets"]["30.0"]) == (1, 2, 2)
