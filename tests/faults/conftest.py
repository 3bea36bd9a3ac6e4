"""Fixtures of the fault suite: sites behind a proxy, and a bus that is carried through a fault."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.outside import OutsideBroker
from tests.faults.book import Book, Verdict
from tests.faults.proxy import Proxy
from tests.faults.sites import KafkaSite, RabbitSite, Site
from tests.integration.conftest import no_leak  # noqa: F401 - a fixture
from tests.integration.support import DEADLINE

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bear with aiokafka 0.14, which leaks the socket of a connection that is cancelled half-way."""
    for item in items:
        if HERE in item.path.parents and "kafka" in f"{item.name} {getattr(item, 'fixturenames', ())}":
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what each fault has cost: repeats are allowed, and never silent."""
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
    """A proxy before Kafka, at the address that this Kafka gives to those who come through it."""
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
    """A site of each kind in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def costs(record_property: Callable[[str, object], None]) -> Callable[[Verdict], None]:
    """Note what a fault has cost, for the summary."""

    def note(verdict: Verdict) -> None:
        words = f"{verdict.put} put, {verdict.arrived} arrived, {verdict.repeats} repeats, {verdict.missing} missing"
        record_property("costs", words)

    return note


@pytest.fixture
def carried(costs: Callable[[Verdict], None]) -> Callable[..., Awaitable[Any]]:
    """Stream to a site while something happens to it: afterwards all has arrived, in order, and the account agrees.

    `await carried(site, happens, **options)`: `happens(hub)` begins while events flow, and when it has returned they
    must flow again. `at_most` bounds the repeats; options go to the profile. Gives the account.
    """

    async def carry(
        site: Site, happens: Callable[[Any], Awaitable[None]], at_most: int | None = None, size: int = 0, **options: Any
    ) -> Any:
        book = Book()
        async with site.bus(**options) as hub:
            async with book.streaming(hub, size):
                await site.flows(hub)
                await happens(hub)
                await site.flows(hub)
            account = await hub.evbus.init.stop(DEADLINE)
        verdict = book.check(account, await site.arrived(), at_most)
        costs(verdict)
        assert verdict.missing == 0
        assert account.complete
        return account

    return carry
