"""amqp/receiver.py: an event leaves its queue only when its copy is safe."""

import asyncio
import struct
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from dict_tools.data import SafeNamespaceDict

from evbus_like.amqp import failures, feed, topology
from evbus_like.amqp.deliveries import Delivery
from evbus_like.amqp.receiver import Receiver
from evbus_like.amqp.redelivery import Republisher
from evbus_like.egress import amqp as plugin
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from tests.unit.amqp import confirm_channel


class Feed:
    subscription = Subscription("orders", ("placed",), "shipping", "ship")

    def __init__(self):
        self.acked = []

    def ack(self, events):
        self.acked += events


async def test_of_a_thousand_handlers_twenty_ask_for_their_queues_at_a_time(monkeypatch):
    asking, most = 0, 0

    async def subscribe(*_):
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return SimpleNamespace(own_connection=None)

    monkeypatch.setattr(feed, "subscribe", subscribe)
    receiver = Receiver({})
    receiver._bindings = SimpleNamespace(keep=lambda made: None)
    wanted = [Subscription("orders", ("placed",), "shipping", f"ship{number}") for number in range(1000)]
    made = await asyncio.gather(*map(receiver.subscribe, wanted))
    assert len(made) == 1000
    assert most == 20


@pytest.mark.parametrize("verb", ["retry", "dead"])
async def test_an_event_is_acknowledged_only_when_its_copy_is_safe(verb):
    receiver, feed, event, safe = Receiver({}), Feed(), ReceivedEvent(b"x"), asyncio.Event()

    async def send(*_):
        await safe.wait()

    receiver._delayed_retry = receiver._dead_letters = SimpleNamespace(send=send)
    task = asyncio.create_task(getattr(receiver, verb)(feed, event, 1.0))
    await asyncio.sleep(0.01)
    assert feed.acked == []
    safe.set()
    await task
    assert feed.acked == [event]


@pytest.mark.parametrize("verb", ["retry", "dead"])
async def test_an_event_whose_copy_is_refused_stays(verb):
    receiver, feed = Receiver({}), Feed()

    async def send(*_):
        raise TransientError("no")

    receiver._delayed_retry = receiver._dead_letters = SimpleNamespace(send=send)
    with pytest.raises(TransientError):
        await getattr(receiver, verb)(feed, ReceivedEvent(b"x"), 1.0)
    assert feed.acked == []


@pytest.mark.parametrize("hostile", ["a\nERROR all is lost", "\x1b[2J", "a\r\x00", "\ud800", "\u202egnp"])
def test_an_event_is_named_on_one_line_of_a_log_whatever_its_id_and_its_type_are(hostile):
    for event in (ReceivedEvent(b"", "placed", "orders", hostile), ReceivedEvent(b"", hostile, hostile)):
        assert str(event).isprintable()
        assert repr(event).isprintable()
    assert str(ReceivedEvent(b"", "gr\u00f6\u00dfe", "orders", "id")) == "orders.gr\u00f6\u00dfe id"


async def test_a_queue_without_a_leader_is_asked_for_on_a_connection_of_its_own(monkeypatch):
    # Given two queues of one profile, of which one has no leader
    receiver, asked, made = Receiver({}), [], SimpleNamespace(own_connection=None, is_open=True)
    stuck, fine = (Subscription(name, ("placed",), "shipping", "ship") for name in ("stuck", "fine"))
    leaderless = True

    async def subscribe(connection, _acct, subscription):
        asked.append((subscription.source, connection is receiver._incoming))
        if subscription is stuck and leaderless:
            raise failures.no_leader(subscription.queue, "rabbit:5672", "INTERNAL_ERROR")
        return made

    monkeypatch.setattr(feed, "subscribe", subscribe)
    # When both are asked for
    for _ in range(2):
        with pytest.raises(TransientError, match=r"evt-stuck-placed.* has no leader"):
            await receiver.subscribe(stuck)
        await receiver.subscribe(fine)
    # Then the one shares no connection with the other from the second time on
    assert asked == [("stuck", True), ("fine", True), ("stuck", False), ("fine", True)]
    # And it shares one again after it has worked
    leaderless = False
    assert (await receiver.subscribe(stuck)).own_connection is not None
    assert (await receiver.subscribe(stuck)).own_connection is None


@pytest.mark.parametrize(("profile", "quorum"), [({}, True), ({"quorum": False}, False)])
def test_the_setting_quorum_is_for_profiles_that_do_not_have_the_option(profile, quorum):
    ctx = SafeNamespaceDict(acct=SafeNamespaceDict(profile), profile="default")
    hub = SimpleNamespace(OPT={"evbus_like": {"quorum": True}})

    receiver = plugin._receiver(hub, ctx)

    assert receiver._dead_letters._quorum is quorum
    assert bool(topology.queue_arguments(receiver._acct, Feed.subscription)) is quorum


class Outgoing:
    """A shared connection with one channel, which RabbitMQ may block."""

    place = "here"

    def __init__(self):
        self.made, self.written = confirm_channel()
        self.alarm = ""

    def check_blocked(self):
        if self.alarm:
            raise TransientError(self.alarm)

    @asynccontextmanager
    async def channel(self, confirms=False):
        yield self.made.channel


async def sent(republisher, event):
    """Send a copy with a deadline, as the settler does."""
    async with asyncio.timeout(0.05):
        await republisher.send(event, "", "q.dead", [lambda room: (b"\x00\x00", b"x")])


async def test_a_copy_whose_confirm_is_late_or_held_up_by_an_alarm_is_sent_once():
    # Given a copy that RabbitMQ has not confirmed in time
    outgoing, event = Outgoing(), ReceivedEvent(b"x", token=Delivery(1, False, "", ""))
    republisher = Republisher(outgoing)
    with pytest.raises(TimeoutError):
        await sent(republisher, event)
    # When its alarm is on
    outgoing.alarm = "low on memory"
    for _ in range(3):
        with pytest.raises(TransientError, match="low on memory"):
            await sent(republisher, event)
    # And RabbitMQ confirms the copy when it is over
    outgoing.alarm = ""
    (channel,) = [republisher._channel._channel]
    channel.confirms.method(b"\x00\x3c\x00\x50" + struct.pack(">QB", 1, 0))
    await sent(republisher, event)
    # Then it was written once
    assert len(outgoing.written) == 1


async def test_a_copy_that_rabbitmq_did_not_take_is_sent_again_and_its_queue_named():
    outgoing, event = Outgoing(), ReceivedEvent(b"x", token=Delivery(1, False, "", ""))
    republisher = Republisher(outgoing)
    for number in (1, 2):
        sending = asyncio.create_task(sent(republisher, event))
        await asyncio.sleep(0.01)
        republisher._channel._channel.confirms.method(b"\x00\x3c\x00\x78" + struct.pack(">QB", number, 0))
        with pytest.raises(TransientError, match=r"a queue for it is full.*'q\.dead'"):
            await sending
    assert len(outgoing.written) == 2
