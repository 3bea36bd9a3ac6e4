"""engine/foreign.py: whatever code of others raises, lanes, handlers and services go on."""

import asyncio
import logging

import pytest

from evbus_like.engine import logs
from evbus_like.engine.errors import (
    BatchRejected,
    DestinationRefused,
    PoisonEvent,
    TransientError,
    UnknownOutcome,
)
from evbus_like.engine.failure import classify
from evbus_like.engine.foreign import ForeignError, ends, tamed, text_of
from evbus_like.engine.sending import worker
from tests.unit.fakes import Destination, entry, running, until
from tests.unit.test_destination import EVENTS, made


class OwnBase(BaseException):
    """An exception that is no Exception."""


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self):
        raise SystemExit(5)

    __repr__ = __str__


class MutePoison(PoisonEvent):
    """The same, of a kind that the engine knows."""

    __str__ = __repr__ = Mute.__str__


class MuteTimeout(TimeoutError):
    """The same, of a builtin kind."""

    __str__ = __repr__ = Mute.__str__


class MuteRejected(BatchRejected):
    """The same, with an attribute that counts."""

    __str__ = __repr__ = Mute.__str__


STRANGE = [SystemExit(3), GeneratorExit(), OwnBase("x"), BaseExceptionGroup("g", [SystemExit(1)]), Mute()]


def named(error):
    return type(error).__name__


@pytest.mark.parametrize("error", STRANGE, ids=named)
def test_what_is_no_exception_or_has_no_text_becomes_one_that_has(error):
    safe = tamed(error)
    assert isinstance(safe, ForeignError)
    assert type(error).__name__ in str(safe)
    assert text_of(safe) == str(safe)


def test_an_exception_with_a_text_stays_itself_and_one_without_keeps_its_kind():
    for error in (ValueError("x"), PoisonEvent("x"), TimeoutError(), BatchRejected("x", certain=False)):
        assert tamed(error) is error

    kinds = [type(classify(tamed(each("x")))) for each in (MutePoison, MuteTimeout, MuteRejected)]
    assert kinds == [PoisonEvent, UnknownOutcome, BatchRejected]
    assert not tamed(MuteRejected("x", certain=False)).certain


async def test_a_task_ends_by_its_own_cancellation_and_by_control_c_and_not_by_what_it_called():
    task = asyncio.current_task()
    assert not any(ends(each, task) for each in (*STRANGE, asyncio.CancelledError()))
    assert ends(KeyboardInterrupt(), task)
    assert ends(GeneratorExit(), None)  # another task, or none, runs by now
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await asyncio.sleep(0)
    assert ends(cancelled.value, task)
    task.uncancel()


@pytest.mark.parametrize("error", [*STRANGE, asyncio.CancelledError()], ids=named)
@pytest.mark.parametrize("step", ["publish", "open", "close"])
async def test_whatever_a_destination_raises_its_lane_goes_on_and_delivers(step, error):
    steps = {"publish": [TransientError("reconnect")], step: [error, error]}
    destination = Destination(**steps)
    async with running(entry(destination)) as bus:
        for number in range(5):
            await bus.putter.put(body=number, timeout=30)
        await bus.putter.put(body=5, confirm="delivered", timeout=30)

    assert destination.received == [b"0", b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("error", STRANGE, ids=named)
async def test_an_event_whose_publish_always_raises_what_is_no_exception_is_given_up_and_the_next_is_delivered(error):
    def publish(events):
        if any(event.body == b'"bad"' for event in events):
            raise error

    destination = Destination(publish=[publish] * 100)
    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body="bad")
        await bus.putter.put(body="good", confirm="delivered", timeout=30)

    assert destination.received == [b'"good"']
    assert [type(error).__name__ in str(each.exception) for each in bus.failures if each.final] == [True]


@pytest.mark.parametrize("error", STRANGE, ids=named)
@pytest.mark.parametrize("function", ["publish", "publish_batch"])
async def test_what_a_plugin_raises_is_an_exception_with_a_text_and_shows_no_secret(function, error):
    async def fail(hub, ctx, **given):
        if isinstance(error, (SystemExit, OwnBase)):
            error.args = ("the password is hunter22",)
        raise error

    async def publish(hub, ctx, body):
        await fail(hub, ctx)

    async def publish_batch(hub, ctx, events):
        await fail(hub, ctx)

    destination = made({"password": "hunter22"}, **{function: publish if function == "publish" else publish_batch})
    with pytest.raises(Exception, match=r".") as caught:
        await destination.publish(EVENTS)

    assert type(error).__name__ in str(caught.value) or "password is ***" in str(caught.value)
    assert "hunter22" not in str(caught.value)


async def test_outcomes_that_are_no_exceptions_or_have_no_text_are_made_so():
    outcomes = [MutePoison("x"), SystemExit(3)]
    found = await made(publish_batch=lambda hub, ctx, events: outcomes).publish(EVENTS)
    assert [type(each) for each in found] == [PoisonEvent, ForeignError]
    assert all(isinstance(str(each), str) for each in found)


async def test_a_plugin_that_gives_no_outcomes_at_all_is_named():
    with pytest.raises(TypeError, match=r"'fake': publish_batch gave a int; it must give None, or a list"):
        await made(publish_batch=lambda hub, ctx, events: 7).publish(EVENTS)


@pytest.mark.parametrize(
    "answer",
    [SystemExit(2), Mute(), None, -1, 7, "x", 1, DestinationRefused("no")],
    ids=lambda each: type(each).__name__,
)
async def test_whatever_publish_now_does_the_bus_goes_on(answer):
    def publish_now(events):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    destination = Destination()
    destination.publish_now = publish_now
    destination.is_open = True
    async with running(entry(destination)) as bus:
        for number in (1, 2):
            await bus.putter.put(body=number, timeout=30)
            await until(lambda: not bus.lanes[0].queue)

    assert destination.received == ([] if answer == 1 else [b"1", b"2"])


class Raising(logging.Handler):
    """A log handler that fails, as that of an error tracker may."""

    def emit(self, record):
        raise RuntimeError("the tracker is away")


@pytest.fixture
def raising_log():
    handler, logger = Raising(), logging.getLogger("evbus_like")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


async def test_a_log_handler_that_raises_ends_no_lane_and_no_listener(raising_log, monkeypatch):
    monkeypatch.setattr(worker, "FAILED_WAIT", 0.001)
    steps = [PoisonEvent("bad"), lambda events: [PoisonEvent("bad"), TransientError("busy")][: len(events)]]
    destination = Destination(publish=steps)
    async with running(entry(destination, matches=lambda profile: profile != "nobody", batch_events=2)) as bus:
        bus.putter.put_nowait(body=0, profile="nobody")
        for number in range(4):
            bus.putter.put_nowait(body=number)
        await bus.putter.put(body=4, confirm="delivered", timeout=30)
        account = bus.bus.account().lanes[0]

    assert destination.received[-1] == b"4"
    assert (account.delivered + account.dead_lettered, account.remaining) == (5, 0)


async def test_every_logger_of_the_package_survives():
    async with running(entry(Destination())):
        ours = {name for name in logging.root.manager.loggerDict if name.startswith("evbus_like.")}
        assert {"evbus_like.bus", "evbus_like.lane"} <= ours
        assert {type(logging.getLogger(name)) for name in ours} == {logs.SurvivingLogger}
