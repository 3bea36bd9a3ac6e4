"""Fixtures of the fault suite: sites behind a proxy, and a stream of events through a fault."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.outside import OutsideBroker
from tests.faults.proxy import Proxy
from tests.faults.sender import FaultCosts, Sender
from tests.faults.sites import KafkaSite, RabbitSite, Site
from tests.integration.conftest import no_leak  # noqa: F401 - a fixture
from tests.integration.support import DEADLINE

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tolerate aiokafka 0.14, which leaks the socket of a connection attempt that is cancelled."""
    for item in items:
        if HERE in item.path.parents and "kafka" in f"{item.name} {getattr(item, 'fixturenames', ())}":
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the cost of each fault: repeats are allowed, but always shown."""
    costs = [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "costs"
    ]
    if costs:
        terminalreporter.section("what the faults cost")
        for line in costs:
            terminalreporter.line(line)


@pytest.fixture
def rabbit_proxy(rabbitmq: Any) -> Iterator[Proxy]:
    """A proxy before RabbitMQ."""
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def kafka_proxy(kafka: Any) -> Iterator[Proxy]:
    """A proxy before Kafka, at the address that this Kafka advertises to clients of the proxy."""
    if isinstance(kafka, OutsideBroker):
        kafka.start()  # skips
    with Proxy(kafka.proxied_port, kafka.proxy_port) as proxy:
        yield proxy


@pytest.fixture
async def rabbit_site(rabbitmq: Any, rabbit_proxy: Proxy, fresh_name: str) -> Site:
    """A queue of RabbitMQ behind a proxy."""
    site = RabbitSite(rabbitmq, rabbit_proxy, fresh_name)
    await site.make()
    return site


@pytest.fixture
async def kafka_site(kafka: Any, kafka_proxy: Proxy, fresh_name: str) -> Site:
    """A topic of Kafka behind a proxy."""
    site = KafkaSite(kafka, kafka_proxy, fresh_name)
    await site.make()
    return site


@pytest.fixture(params=["rabbit_site", "kafka_site"], ids=["rabbitmq", "kafka"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each kind of site in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def report_costs(record_property: Callable[[str, object], None]) -> Callable[[FaultCosts], None]:
    """Add the cost of a fault to the summary."""

    def report(costs: FaultCosts) -> None:
        words = f"{costs.put} put, {costs.arrived} arrived, {costs.repeats} repeats, {costs.missing} missing"
        record_property("costs", words)

    return report


@pytest.fixture
def stream_through(report_costs: Callable[[FaultCosts], None]) -> Callable[..., Awaitable[Any]]:
    """Stream events to a site through a fault, and check that all arrive in order and that the account agrees.

    `await stream_through(site, fault, **options)`: `fault(hub)` begins while events flow, and when it returns they must
    flow again. `at_most` is the highest number of repeats allowed; options are those of the profile. Gives the account.
    """

    async def stream(
        site: Site, fault: Callable[[Any], Awaitable[None]], at_most: int | None = None, size: int = 0, **options: Any
    ) -> Any:
        sender = Sender()
        async with site.bus(**options) as hub:
            async with sender.streaming(hub, size):
                await site.flows(hub)
                await fault(hub)
                await site.flows(hub)
            account = await hub.evbus.init.stop(DEADLINE)
        costs = sender.check(account, await site.arrived(), at_most)
        report_costs(costs)
        assert costs.missing == 0
        assert account.complete
        return account

    return stream
