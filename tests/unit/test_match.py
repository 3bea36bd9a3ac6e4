"""match/: glob, regex and exact; compile and find always agree."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.match import exact, glob, regex

names = st.text("ab.*?[]!-\n", max_size=6)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("orders", "orders", True),
        ("orders", "orders2", False),
        ("orders.*", "orders.eu", True),
        ("orders.*", "orders", False),
        ("o?", "ox", True),
        ("[ab]", "b", True),
        ("[!ab]", "b", False),
        ("Orders", "orders", False),
        ("*", "", True),
        ("*", "two\nlines", True),
        ("[", "[", True),
    ],
)
def test_glob_matches_as_a_shell_does(pattern, name, matches):
    assert glob.find(None, name, pattern) is matches
    assert glob.compile_(None, pattern)(name) is matches


@given(pattern=names, name=names)
def test_a_compiled_pattern_matches_what_find_matches(pattern, name):
    for plugin in (glob, exact):
        assert plugin.compile_(None, pattern)(name) == plugin.find(None, name, pattern)


@given(name=st.text())
def test_exact_is_the_same_name_alone(name):
    assert exact.compile_(None, name)(name) is True
    assert exact.compile_(None, name)(name + "x") is False


def test_a_regex_must_match_the_whole_name():
    for test in (regex.compile_(None, "a+"), lambda name: regex.find(None, name, "a+")):
        assert test("aa")
        assert not test("aab")
        assert not test("baa")


def test_a_bad_regex_raises():
    with pytest.raises(re.error):
        regex.compile_(None, "a(")


ENDLESS = [
    ("(a|a)*[bc]", "a" * 60),
    ("(a|aa)+[bc]", "a" * 60),
    (r"(a|b|ab)*[cd]", "ab" * 40),
    (r"(?=((a|a)*)[bc]).*", "a" * 60),
    (r"(?!(a|a)*[bc]).*", "a" * 60),
    (r"((a|a)*)\1[bc]", "a" * 60),
]


@pytest.mark.parametrize(("pattern", "name"), ENDLESS)
def test_an_endless_regex_is_stopped_and_says_so(monkeypatch, pattern, name):
    monkeypatch.setattr(regex, "DEADLINE", 0.02)
    for test in (regex.compile_(None, pattern), lambda name: regex.find(None, name, pattern)):
        with pytest.raises(TimeoutError, match=r"stopped after 0\.02 s.*simplify it"):
            test(name)


PARTS = st.sampled_from(
    ["a", "b", ".", "|", "*", "+?", "(", "(?:", "(?!", ")", "[ab]", "[^a]", "\\w", "\\.", "{1,2}", "^", "$"]
)


@given(pattern=st.lists(PARTS, max_size=8).map("".join), name=st.text("ab.\n", max_size=5))
def test_a_regex_matches_what_python_s_re_matches(pattern, name):
    try:
        expected = re.fullmatch(pattern, name) is not None
    except re.error:
        with pytest.raises(re.error):
            regex.compile_(None, pattern)
    else:
        assert regex.compile_(None, pattern)(name) is expected


def test_hub_match_find_uses_the_plugin_that_is_set(hub):
    assert hub.match.init.find("orders.eu", "orders.*")

    hub.match.PLUGIN = "exact"

    assert not hub.match.init.find("orders.eu", "orders.*")
