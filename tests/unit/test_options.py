"""engine/options.py: what is said about a wrong option of a profile."""

import math

import pytest

from evbus_like.engine.options import COMMON, RETRY, common_problems, lane_options, problems
from evbus_like.engine.sending.destination import LaneOptions

SPECS = {"exchange": (str, "help"), "durable": (bool, "help"), "topics": ((str, list), "help")}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"exchnge": "x"}, "there is no option exchnge; did you mean 'exchange'?"),
        ({"zzz": 1}, "there is no option zzz; there is: durable, exchange, topics"),
        ({"exchange": 1}, "option exchange must be of type str, not int; put it in quotes"),
        ({"exchange": None}, "option exchange must be of type str, not NoneType"),
        ({"durable": 1}, "option durable must be of type bool, not int"),
        ({"topics": {}}, "option topics must be of type str or list, not dict"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_right(data, said):
    assert list(problems(data, SPECS)) == [said]


def test_every_wrong_option_is_named():
    assert len(list(problems({"exchnge": "x", "durable": 1}, SPECS))) == 2
    assert list(problems({"exchange": "x", "durable": True, "topics": ["a"]}, SPECS)) == []


@pytest.mark.parametrize(
    "data",
    [
        {"max_events": 0},
        {"max_events": -1},
        {"max_events": True},
        {"max_events": 1.5},
        {"timeout": 0},
        {"timeout": "30"},
        {"timeout": math.nan},
        {"batch_bytes": "4MB"},
        {"serializer": None},
        {"when_full": "drop_all"},
        {"outbox": "sometimes"},
        {"retry": 3},
        {"retry": {"first": 0}},
        {"retry": {"max": "5"}},
        {"retry": {"attempts": 0}},
        {"retry": {"attemps": 3}},
    ],
    ids=str,
)
def test_a_value_that_no_lane_could_work_with_is_a_problem(data):
    assert list(common_problems(data))


def test_the_options_of_a_plugin_are_left_to_its_own_specs():
    assert list(common_problems({"exchange": 1})) == []


def test_a_lane_gets_the_profile_s_values_before_the_plugin_s_and_the_built_in_ones():
    made = lane_options(
        {"max_events": 5, "timeout": None, "retry": {"attempts": 3, "max": 9}}, {"max_events": 7, "max_bytes": 8}
    )

    assert made == LaneOptions(max_events=5, max_bytes=8, attempts=3, retry_cap=9)


def test_every_common_option_has_a_help_text():
    assert all(text for _, text in (*COMMON.values(), *RETRY.values()))
