"""Batches that Kafka refuses for some of their records: those are found, the others are sent once and in order."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from evbus_like.kafka.batches import Batch
from evbus_like.kafka.internals import BrokerError
from evbus_like.kafka.isolation import Isolation


class Planner:
    """Makes batches of at most `most` records."""

    def __init__(self, most):
        self.most = most
        self.rules = SimpleNamespace(forget=lambda topic: None)

    def limit(self, topic, most):
        self.most = min(self.most, max(1, most))

    def again(self, producer, place, events, positions, outcomes):
        return [batch(positions[at : at + self.most]) for at in range(0, len(positions), self.most)]


def batch(positions):
    made = Batch("t", 0, None)
    made.positions = list(positions)
    return made


def deliver(count, bad, most, code, exact):
    """Do what a producer does, and what a broker would answer; gives what arrived, what was given up, the rounds."""
    planner = Planner(most)
    isolation, rounds, arrived, given_up = Isolation(planner, range(count), []), 0, [], []
    batches = planner.again(None, None, None, range(count), None)
    while batches:
        refused, rounds = False, rounds + 1
        for each in batches:
            wrong = [index for index, position in enumerate(each.positions) if position in bad]
            if refused:
                assert isolation.behind(each)
            elif wrong:
                refused = True
                error = BrokerError("t", 0, code, None, dict.fromkeys(wrong, "") if exact else {})
                given_up += [position for position, _ in isolation.refused(each, error)]
            else:
                arrived += each.positions
                isolation.confirmed(each)
        batches = list(isolation.batches(None)) if isolation else []
    return arrived, given_up, rounds


@pytest.mark.parametrize("exact", [True, False])
@given(
    count=some.integers(1, 200),
    bad=some.sets(some.integers(0, 199), max_size=12),
    most=some.integers(1, 80),
    code=some.sampled_from([10, 87]),
)
def test_what_is_refused_is_found_and_the_rest_arrives_once_and_in_order(exact, count, bad, most, code):
    arrived, given_up, _ = deliver(count, bad, most, code, exact)
    assert arrived == [position for position in range(count) if position not in bad]
    assert given_up == sorted(position for position in bad if position < count)


def test_a_broker_that_names_the_records_costs_one_round_more_and_another_a_few():
    assert deliver(4000, {7, 1000, 3999}, 4000, 87, exact=True)[2] == 2
    assert deliver(4000, {1000}, 4000, 87, exact=False)[2] < 40
