"""speedups/: each function in C does what its twin in Python does, and the package works without a compiler."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like import speedups
from evbus_like.engine import values

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("finite", [speedups.TWINS["finite"], values.finite], ids=["Python", "fastest"])


def in_pure_python(code):
    """Run code in a process that uses no C; returns what it prints."""
    environment = {**os.environ, "EVBUS_PUREPYTHON": "1"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr
    return ran.stdout.strip()


def nested(levels, inner, kind):
    for _ in range(levels):
        inner = {"a": inner} if kind is dict else kind((inner,))
    return inner


class Text(str):
    __slots__ = ()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_where_there_is_a_compiler_the_functions_are_in_c():
    assert speedups.IN_C or os.environ.get("EVBUS_PUREPYTHON")


def test_a_setting_of_the_environment_chooses_the_twins():
    assert in_pure_python("from evbus_like import speedups; print(speedups.IN_C)") == "False"


def test_a_body_has_the_same_bytes_and_the_same_errors_without_c():
    code = """
import pop.hub, json
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="serialize")
print(hub.serialize.json.dump({"a": [None, 1.5, {"b": (True,)}]}).decode())
try:
    hub.serialize.json.dump({"a": [None, float("nan")]})
except Exception as error:
    print(error)
"""
    body, error = in_pure_python(code).splitlines()
    assert json.loads(body) == {"a": [None, 1.5, {"b": [True]}]}
    assert error.startswith("body.a[1] is nan")


@BOTH
@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("inner", [(), 1.5])
def test_what_is_nested_too_deep_is_uncertain(finite, kind, inner):
    most = values.MAX_LEVELS - 1
    assert finite(nested(most, inner, kind))
    assert not finite(nested(most + 1, inner, kind))


@BOTH
@pytest.mark.parametrize("value", [Text("a"), {Text("a"): 1}, [object()], ({1},), bytearray(), b"".join, 1j])
def test_what_is_no_builtin_is_uncertain(finite, value):
    assert not finite(value)


@BOTH
def test_what_holds_itself_is_uncertain(finite):
    body = []
    body.append(body)
    assert not finite(body)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Text)
bodies = st.recursive(
    scalars | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.floats(), inner),
)


@given(bodies)
def test_both_find_the_same_bodies_finite(body):
    assert values.finite(body) == speedups.TWINS["finite"](body)


@BOTH
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_infinity_passes_in_a_value_or_a_key(finite, number):
    for body in (number, [number], {"a": (1, [number])}, {number: 1}):
        assert not finite(body)
