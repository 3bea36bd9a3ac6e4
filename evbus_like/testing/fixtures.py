"""pytest fixtures for an application's tests: `bus`, and the hub `evbus_hub` that it runs on.

In the application's `conftest.py`::

    pytest_plugins = ["evbus_like.testing.fixtures"]

and then::

    async def test_an_order_is_shipped(bus):
        await bus.dispatch("orders", "order_placed", {"id": 7})
        await bus.handled("shipping.ship")
        assert bus.find("shipped")[0].body == {"id": 7}

    @pytest.mark.evbus(only="shipping.ship")          # or skip=...
    async def test_one_handler(bus): ...

It needs pytest and pytest-asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from evbus_like.testing.application import handling
from evbus_like.testing.bus import Bus
from evbus_like.testing.running import new_hub


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "evbus(only=(), skip=(), postgres=None): what the fixture `bus` runs, and its databases"
    )


@pytest.fixture
def evbus_hub() -> Any:
    """A new hub with the bus on it; override it to add the application's own dynes."""
    return new_hub()


@pytest_asyncio.fixture
async def bus(request: pytest.FixtureRequest, evbus_hub: Any) -> AsyncIterator[Bus]:
    """A bus in memory with the application's handlers and services: an `evbus_like.testing.Bus`."""
    given: dict[str, Any] = {}
    for mark in request.node.iter_markers("evbus"):
        if mark.args or set(mark.kwargs) - {"only", "skip", "postgres"}:
            raise pytest.UsageError("the marker is evbus(only=..., skip=..., postgres=...)")
        given = {**mark.kwargs, **given}  # the nearest mark counts
    async with handling(evbus_hub, **given) as running:
        yield running
