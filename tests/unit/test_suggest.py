"""engine/suggest.py: the nearest right name for a wrong one."""

import pytest

from evbus_like.engine.suggest import did_you_mean, shown


@pytest.mark.parametrize(("wrong", "right"), [("jsn", "json"), ("mesgpack", "msgpack"), ("Yaml", "yaml")])
def test_the_nearest_name_is_suggested(wrong, right):
    assert did_you_mean(wrong, ["json", "msgpack", "yaml"]) == f"did you mean {right!r}?"


def test_where_nothing_is_near_all_names_are_given():
    assert did_you_mean("protobuf", ["yaml", "json"]) == "there is: json, yaml"
    assert did_you_mean("x", []) == "there is none"


def test_a_wrong_value_is_shown_in_one_short_line():
    assert shown("x" * 100) == repr("x" * 100)[:60] + "... (102 characters)"
    assert shown([1, "a"]) == "[1, 'a']"


def test_an_int_that_python_does_not_print_is_named_by_its_type():
    assert shown(10**5000) == "int"
