"""engine/backoff.py: exponential, with full jitter, and a ceiling."""

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine import backoff
from evbus_like.engine.backoff import Backoff


@given(base=st.floats(0.001, 10), cap=st.floats(0.001, 100), tries=st.integers(1, 200))
def test_no_wait_is_longer_than_the_cap_or_the_doubled_base(base, cap, tries):
    waits = Backoff(base, cap)

    for n in range(tries):
        assert 0 <= waits.next() <= min(cap, base * 2**n) * (1 + 1e-9)


def test_the_ceiling_doubles_until_the_cap_and_starts_again_after_a_success(monkeypatch):
    monkeypatch.setattr(backoff.random, "uniform", lambda low, high: high)
    waits = Backoff(1, 5)

    assert [waits.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    waits.reset()
    assert waits.next() == 1


def test_waits_are_spread_from_zero_to_the_ceiling():
    waits = [Backoff(1, 1).next() for _ in range(200)]

    assert min(waits) < 0.2
    assert max(waits) > 0.8
