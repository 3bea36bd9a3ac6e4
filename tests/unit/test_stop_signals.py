"""engine/signals.py: what SIGTERM, SIGINT and SIGHUP do to a running bus; tests/processes has whole programs."""

import asyncio
import os
import signal

import pytest

from evbus_like.engine import signals
from evbus_like.engine.errors import ProfileError
from evbus_like.testing import eventually
from tests.unit.fakes import HANG


@pytest.fixture
async def raised():
    """A function that raises a signal in this process; the handlers are removed at the end."""

    async def send(number):
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)

    yield send
    loop = asyncio.get_running_loop()
    for number in (*signals.SIGNALS, signal.SIGHUP):
        loop.remove_signal_handler(number)


@pytest.mark.parametrize("number", signals.SIGNALS)
async def test_signals_that_come_at_once_stop_the_bus_once(raised, number):
    stops, stopped = [], asyncio.Event()

    async def stop():
        stops.append(1)
        await stopped.wait()

    signals.stop_on_signals(stop)
    await raised(number)
    await raised(number)
    stopped.set()

    assert stops == [1]


async def test_after_a_while_a_second_signal_has_its_default_effect(raised, monkeypatch):
    monkeypatch.setattr(signals, "AGAIN", 0.02)
    signals.stop_on_signals(lambda: asyncio.sleep(0))
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    await raised(signal.SIGTERM)

    await eventually(lambda: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, timeout=HANG)


async def test_all_that_come_during_a_reload_are_one_more_reload(raised):
    reloads, go_on = [], asyncio.Event()

    async def reload():
        reloads.append(1)
        await go_on.wait()

    signals.reload_on_signal(reload)
    for _ in range(3):
        await raised(signal.SIGHUP)
    assert reloads == [1]
    go_on.set()
    await asyncio.sleep(0.01)

    assert reloads == [1, 1]


@pytest.mark.parametrize(
    ("error", "said"), [(ProfileError("there is no option limt"), "limt"), (ValueError("s3cret"), "ValueError")]
)
async def test_a_reload_that_fails_is_logged_without_secrets(raised, caplog, error, said):
    async def reload():
        raise error

    signals.reload_on_signal(reload)
    await raised(signal.SIGHUP)

    assert said in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_hangup_that_is_ignored_stays_ignored(raised):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals.reload_on_signal(lambda: asyncio.sleep(0))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
