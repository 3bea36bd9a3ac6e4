"""What a suite says when a target is incomplete or a wait ends without result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from evbus_like.testing.running import eventually

DEADLINE = 60.0  # seconds: only stops a hang
PAGE = "see docs/plugins.md"
SHOWN = 5  # bodies in a message; more are counted


def failure(text: str) -> BaseException:
    """Return the exception that fails a test with a message alone: a traceback would only show the suite."""
    return pytest.fail.Exception(text, pytrace=False)


def missing_method(target: object, name: str, purpose: str, feature: str = "") -> BaseException:
    """Return the failure for a method that a target lacks; `feature` is the one that makes the suite need it."""
    return failure(
        f"your {type(target).__name__} has no {name}(); the suite needs it to {purpose}"
        f"{f', or declare {feature}=False' if feature else ''}; {PAGE}"
    )


def missing_attribute(target: object, name: str, purpose: str, feature: str = "") -> BaseException:
    """Return the failure for an attribute that a target does not set."""
    return failure(
        f"your {type(target).__name__} does not set {name}; the suite needs {purpose}"
        f"{f', or declare {feature}=False' if feature else ''}; {PAGE}"
    )


def missing_fixture(suite: object, kind: type) -> BaseException:
    """Return the failure for a suite without a target."""
    return failure(f"your {type(suite).__name__} needs a fixture named target that returns a {kind.__name__}; {PAGE}")


async def wait_until(
    condition: Callable[[], Any], what: str, so_far: Callable[[], str] = str, timeout: float | None = None
) -> None:
    """Return once the condition holds; after `timeout` seconds, fail and say what was waited for and what happened."""
    timeout = DEADLINE if timeout is None else timeout
    try:
        await eventually(condition, timeout)
    except TimeoutError:
        raise failure(f"waited {timeout:g} s for {what}; {so_far() or 'it did not happen'}") from None


def difference(expected: Iterable[Any], arrived: Iterable[Any]) -> str:
    """Describe what arrived of what was expected: "2 of 3 arrived; missing: b'c'; unexpected: b'x'"."""
    wanted, found = list(expected), list(arrived)
    missing, extra = without(wanted, found), without(found, wanted)
    text = f"{len(wanted) - len(missing)} of {len(wanted)} arrived"
    text += f"; missing: {listed(missing)}" if missing else ""
    return text + (f"; unexpected: {listed(extra)}" if extra else "")


def without(these: Iterable[Any], those: Iterable[Any]) -> list[Any]:
    """Return `these` without one occurrence for each of `those`; order is kept, values need not be hashable."""
    left = Counter(map(_hashable, those))
    kept = []
    for each in these:
        if left[_hashable(each)]:
            left[_hashable(each)] -= 1
        else:
            kept.append(each)
    return kept


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (bytes, str)) else repr(value)  # bodies can have 64 MiB


def listed(values: Sequence[Any]) -> str:
    """Name the first values and count the others."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(f"{each[:80] if isinstance(each, bytes) else each!r:.100}" for each in values[:SHOWN]) + more
