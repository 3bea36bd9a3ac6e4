"""Fixtures of the unit tests: a hub of one's own, a bus that runs on it, and packages made up for pop to find."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from evbus_like.testing import new_hub
from tests.unit.fakes import HANG


@pytest.fixture(scope="package", autouse=True)
def no_system_certificates() -> Iterator[None]:
    """No test here connects to anything, and OpenSSL takes 50 ms to read the certificates of the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(scope="module")
def one_hub() -> Any:
    """A hub for all tests of a file, which leave it as it is."""
    return new_hub()


@pytest.fixture
async def start(hub: Any) -> AsyncIterator[Callable[..., Any]]:
    """A function that starts the hub's bus with some contexts and gives the listener's task; stopped at the end."""
    tasks: list[asyncio.Task[None]] = []

    async def run(contexts: Any = None, **opt: Any) -> asyncio.Task[None]:
        if opt:
            hub.OPT = {"evbus_like": opt}
        task = asyncio.create_task(
            hub.evbus.init.start({"internal": {"default": None}} if contexts is None else contexts)
        )
        tasks.append(task)
        await hub.evbus.init.join(HANG)
        return task

    yield run
    async with asyncio.timeout(HANG):
        await hub.evbus.init.stop(0.2)
        await asyncio.gather(*tasks, return_exceptions=True)
