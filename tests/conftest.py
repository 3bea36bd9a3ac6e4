"""Fixtures that more than one test file uses: a RabbitMQ, a Kafka and a PostgreSQL to test against, and own names."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pop.hub
import pytest
from hypothesis import settings

from evbus_like.engine import bus
from evbus_like.testing import new_hub
from tests import quick_hub, rpc
from tests.brokers.fleet import Fleet, Unavailable
from tests.brokers.kafka import Kafka
from tests.brokers.needs import in_ci
from tests.brokers.postgres import PostgreSQL
from tests.brokers.rabbitmq import RabbitMQ

LONG = {"interop", "faults"}  # folders: at the end, one process alone would run their tests
START_WITHIN = 20.0  # seconds for a start or a stop that waits for nothing, on a busy machine
_BROKERS = ("rabbitmq", "kafka", "postgres")
_BROKER_FIXTURES = frozenset((*_BROKERS, "site", "fleet", "strict_kafka", "target", "bench"))

# No deadline: a busy machine is no failure. Fewer examples than hypothesis' own 100: every run tries new ones.
# `make unit` runs with "quick", `make test` with the default; a test with a number of its own says how many times more.
settings.register_profile("default", deadline=None, max_examples=60)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("default")

quick_hub.install()

# A shell starts what it puts into the background with SIGINT ignored, nohup with SIGHUP, and so would the programs that
# tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a RabbitMQ, so that `-m rabbitmq` selects them, and run files with long tests first."""
    items.sort(key=lambda item: not LONG.intersection(item.path.parts))
    for item in items:
        site = getattr(item, "callspec", None) and item.callspec.params.get("site")  # type: ignore[attr-defined]
        if site == "rabbit_site" or not {"rabbitmq", "three_nodes"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("rabbitmq")


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests that live to the end: a fifth of the time of unit tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


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


@pytest.fixture(scope="session")
def postgres(fleet: Fleet) -> PostgreSQL:
    """A running PostgreSQL; without one the test is skipped, and fails in CI."""
    return _get(fleet, "postgres")


@pytest.fixture(autouse=True)
def _patient_stops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give brokers that a test has just started again, on a busy machine, more time at a stop than users need."""
    if not _BROKER_FIXTURES.isdisjoint(request.fixturenames) and not request.node.get_closest_marker("default_grace"):
        monkeypatch.setattr(bus, "STOP_GRACE", 30.0)


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


@pytest.fixture
def hub() -> Any:
    """A fresh hub with the bus on it."""
    made = pop.hub.Hub()
    made.pop.sub.add(dyne_name="evbus")
    return made


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
        await hub.evbus.init.join(START_WITHIN)
        return task

    yield run
    async with asyncio.timeout(START_WITHIN):
        await hub.evbus.init.stop(0.2)
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a package which pop finds: {"ingress/redis.py": source}."""

    def write(files: dict[str, str], name: str = "their_app") -> Path:
        root = tmp_path / "site"
        dynes = sorted({path.split("/")[0] for path in files})
        conf = f"DYNE = { ({dyne: [dyne] for dyne in dynes})!r}\n"
        for path, source in {"conf.py": conf, "__init__.py": "", **files}.items():
            target = root / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(source))
        return root

    return write


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """A function that runs a script in a process of its own, with a folder on its path, and gives what it printed."""

    def run(script: str, path: Path | None = None) -> str:
        prefix = f"import sys; sys.path.append({str(path)!r})\n" if path else ""
        done = subprocess.run(
            [sys.executable, "-c", prefix + textwrap.dedent(script)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


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
