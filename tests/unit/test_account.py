"""engine/account.py: what became of every event."""

import copy
import json

import pytest

from evbus_like.engine.account import Account, LaneAccount


def lanes():
    return [
        LaneAccount("a", accepted=5, delivered=3, dead_lettered=1, remaining=1),
        LaneAccount("b", accepted=2, delivered=2),
    ]


def test_the_totals_are_the_sums_of_the_lanes():
    account = Account(put=5, lanes=lanes())

    assert (account.accepted, account.delivered, account.dead_lettered, account.remaining) == (7, 5, 1, 1)
    assert account["delivered"] == 5
    assert account.as_dict()["accepted"] == 7


def test_an_account_is_balanced_when_every_lane_is():
    account = Account(lanes=lanes())
    assert account.balanced

    account.lanes[1].dropped += 1
    assert not account.balanced


def test_complete_means_that_all_was_delivered():
    assert Account(put=2, lanes=[LaneAccount("b", accepted=2, delivered=2)]).complete
    assert not Account(lanes=lanes()).complete
    for count in ("unmatched", "rejected", "queued"):
        assert not Account(**{count: 1}).complete


def test_an_account_can_be_written_as_json_printed_and_copied():
    account = Account(put=5, unmatched=1, lanes=lanes())

    assert json.loads(json.dumps(account.as_dict()))["destinations"][0]["destination"] == "a"
    assert str(account).startswith("put 5, accepted 7, delivered 5, spilled 0, dead-lettered 1")
    assert "unmatched 1" in str(account)
    assert copy.deepcopy(account) == account


@pytest.mark.parametrize("look", [lambda account: account.nothing, lambda account: account["nothing"]])
def test_a_name_that_is_no_count_is_an_error(look):
    with pytest.raises((AttributeError, KeyError), match="nothing"):
        look(Account())
