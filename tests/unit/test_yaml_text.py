"""The one loader of YAML: what it reads, and what it refuses without quoting a value."""

import contextlib
import datetime
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.yaml_text import YamlError, load_yaml

PLAIN: list[tuple[str, Any]] = [
    ("", None),
    ("a: 1\nb: [x, yes, ~, 1.5, '1']", {"a": 1, "b": ["x", True, None, 1.5, "1"]}),
    ("[0x1f, 0777, 1_000, 0b101, -0, -.INF]", [31, 511, 1000, 5, 0, -math.inf]),
    ("[1:30, 1:59:59.5, '=', 08]", ["1:30", "1:59:59.5", "=", "08"]),
    (
        "[2001-12-14, 2001-12-14T21:59:43Z]",
        [datetime.date(2001, 12, 14), datetime.datetime(2001, 12, 14, 21, 59, 43, 0, datetime.UTC)],
    ),
    ("!!binary aGVsbG8=", b"hello"),
    ("base: &b {x: 1, z: 0}\nnew: {<<: *b, x: 2}", {"base": {"x": 1, "z": 0}, "new": {"x": 2, "z": 0}}),
    ("\ufeffa", "a"),
]
REFUSED = {
    "no: 1": "line 1, column 1: a key must be text, and YAML reads 'no' as bool",
    "a:\n  1.10: x": "line 2, column 3: a key must be text, and YAML reads '1.10' as float",
    "{[a]: 1}": "a key must be text, and YAML reads a collection",
    "a: 1\nb: 2\na: 3": "line 3, column 1: the key 'a' is there twice",
    "pass:SECRET: 1\npass:SECRET: 2": "the key is there twice",
    "9" * 50: "an int beyond 64 bits",
    "-9223372036854775809": "an int beyond 64 bits",
    "1.0e+999": "a float beyond the range of 64 bits",
    "-1.0e-400": "a float beyond the range of 64 bits",
    f"0.{'0' * 400}1": "a float beyond the range of 64 bits",
    "2001-13-45": "no valid number or time",
    "!!int SECRET": "no valid int",
    "!!python/object/apply:os.system [SECRET]": "a tag is refused",
    "a\n---\nb": "line 2, column 1: a second document begins",
    "&a [*a]": "an alias names no value above it",
    "%TAG !a! x\n---\na": "a %TAG directive",
    "a: [SECRET": "not valid YAML at line",
    "a: SECRET\x00": "a control character",
    "[" * 300 + "]" * 300: "deeper than 254 levels",
    '"\\ud800"': "not valid YAML at line 1",
    "[" + "[]," * 100_000 + "]": "more than 100000 keys and values",
}


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_yaml_is_read_as_plain_values(text: str, value: Any) -> None:
    assert load_yaml(text, "the file") == value


@pytest.mark.parametrize("text", REFUSED, ids=[each[:20] for each in REFUSED])
def test_a_refusal_names_the_source_and_the_reason_and_quotes_no_value(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_yaml(text, "the file f.yml")
    assert "the file f.yml" in str(caught.value)
    assert REFUSED[text] in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_aliases_that_expand_without_end_are_refused_and_few_are_not() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    assert load_yaml("\n".join(lines[:8]), "t")["a7"][0] == load_yaml("\n".join(lines[:7]), "t")["a6"]
    with pytest.raises(YamlError, match="more than 100000 keys and values"):
        load_yaml("\n".join(lines), "t")
    with pytest.raises(YamlError, match="aliases are refused"):
        load_yaml("\n".join(lines[:2]), "t", aliases=False)


def test_keys_may_be_other_plain_values_where_that_is_asked_for() -> None:
    assert load_yaml("{no: 1, 1.5: 2, ~: 3}", "t", text_keys=False) == {False: 1, 1.5: 2, None: 3}
    with pytest.raises(YamlError, match="a key is a collection"):
        load_yaml("{[a]: 1}", "t", text_keys=False)


@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("- :?[]{},&*!|>'\"%#@`ab10.<\n\t_", max_size=60))
)
def test_any_text_gives_a_value_or_a_yaml_error(text: bytes | str) -> None:
    with contextlib.suppress(YamlError):
        load_yaml(text, "t", text_keys=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES)
def test_what_the_library_writes_is_read_as_it_was(value: Any) -> None:
    assert load_yaml(yaml.safe_dump(value), "t") == value


def test_the_loader_works_without_the_library_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert load_yaml("a: [1:30, {b: 2}]", "t") == {"a": ["1:30", {"b": 2}]}
    with pytest.raises(YamlError, match="not valid YAML at line"):
        load_yaml("a: [SECRET", "t")
    with pytest.raises(YamlError, match="control character"):
        load_yaml("a: \x00", "t")


def test_numbers_that_begin_with_zero_are_refused_where_that_is_asked_for() -> None:
    assert load_yaml("[0, 0.5, '010', 0x10, 10]", "t", octal=False) == [0, 0.5, "010", 16, 10]
    for text in ("05672", "-010", "08", "0_1"):
        with pytest.raises(YamlError, match="a number begins with 0"):
            load_yaml(text, "t", octal=False)
