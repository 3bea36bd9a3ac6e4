"""Fixtures that more than one test file uses: a RabbitMQ and a Kafka to test against, and names of one's own."""

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evbus_like.testing import new_hub
from tests import rpc
from tests.brokers.fleet import Fleet, Unavailable
from tests.brokers.kafka import Kafka
from tests.brokers.needs import in_ci
from tests.brokers.rabbitmq import RabbitMQ

_BROKERS = ("rabbitmq", "kafka")


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The brokers that the tests of this run name: started together when the first of them is used."""
    wanted = {name for item in request.session.items for name in _BROKERS if name in getattr(item, "fixturenames", ())}
    with Fleet(wanted) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def rabbitmq(fleet: Fleet) -> RabbitMQ:
    """A running RabbitMQ; without one the test is skipped, and fails in CI."""
    return _get(fleet, "rabbitmq")


@pytest.fixture(scope="session")
def kafka(fleet: Fleet) -> Kafka:
    """A running Kafka; without one the test is skipped, and fails in CI."""
    return _get(fleet, "kafka")


@pytest.fixture
def fresh_name() -> str:
    """A name for a queue, topic or exchange that nothing else has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that writes an application's plugins, `service__world=source`, and gives a hub that finds them."""

    def make(*world: str, **plugins: str) -> Any:
        monkeypatch.syspath_prepend(rpc.write(tmp_path / "site", *world, **plugins))
        hub = new_hub()
        hub.SEEN = []
        return hub

    yield make
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


def _get(fleet: Fleet, name: str) -> Any:
    # Any: a broker that runs elsewhere stands in for ours where a test only reads its address.
    try:
        return fleet.get(name)
    except Unavailable as problem:
        reason = str(problem)
    # After the except, so that pytest does not print the reason twice.
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
