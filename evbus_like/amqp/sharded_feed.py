"""The feed of a handler with shards: it reads as many of them as are this worker's share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from evbus_like.amqp import failures
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.failures import NoLeader
from evbus_like.amqp.feed import Feed
from evbus_like.amqp.members import EVERY, Members
from evbus_like.amqp.sharing import Member, to_give, to_take
from evbus_like.engine import foreign
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

log = logging.getLogger("evbus_like.handlers")

HELLO = 0.3  # seconds for the other workers to say what they have, before the first shard is taken
FREE_FOR_LONG = 4.0  # seconds until any worker takes a shard that nobody took
LEADERLESS_FOR = 10.0  # seconds until a shard without a leader is tried again, which costs a connection
LOOKS = 10  # shards whose events are counted in one round of questions
BUSY = 0.02  # seconds between two looks at handlers under way
LONG = 60.0  # seconds of such a wait, after which the log says what is waited for

# Reads a shard, unless another worker does: then it returns None. The function is called when events have arrived.
OpenShard = Callable[[int, Callable[[], None]], Awaitable[Feed | None]]


class ShardedFeed:
    """Takes shards and gives them up while it is open; `known` is how many there are.

    A shard that is given up is closed when the handlers under way are done with its events. RabbitMQ returns the others
    to their places in the queue in the same step as it lets another worker read it, so that their order holds.
    """

    def __init__(self, subscription: Subscription, known: int, open_shard: OpenShard, members: Members) -> None:
        self.subscription = subscription
        self.known = known
        self._open_shard = open_shard
        self._members = members
        self._feeds: dict[int, Feed] = {}
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._leaderless: dict[int, float] = {}  # and when each is tried again
        self._free_since: dict[int, float] = {}
        self._given: dict[Feed, set[ReceivedEvent]] = {}  # to handlers, and not settled
        self._looked = 0  # the position among them of the shard that is looked at next
        self._trouble: TransientError | None = None
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to share with the other workers; raises a DeliveryError."""
        await self._members.open(self._lost)
        self._task = asyncio.create_task(self._share(), name=f"evbus_like shards of {self.subscription.queue}")

    @property
    def is_open(self) -> bool:
        """Whether it reads."""
        return self._trouble is None

    @property
    def shards(self) -> list[int]:
        """The numbers of the shards that it reads."""
        return sorted(self._feeds)

    @property
    def lag(self) -> int | None:
        """How many events of the shards that it reads are not settled, when they were last looked at."""
        known = [each.lag for each in self._feeds.values() if each.lag is not None]
        return sum(known) if known else None

    async def look(self, channel: Channel) -> None:
        """Count what is in the shards, in a few of them each time."""
        numbers = self.shards
        for number in (numbers + numbers)[self._looked :][: min(LOOKS, len(numbers))]:
            if (feed := self._feeds.get(number)) is not None:
                await feed.look(channel)
        self._looked = (self._looked + LOOKS) % max(1, len(numbers))

    async def bind(self, channel: Channel) -> None:
        """Bind what the announcements need again, if it is not bound."""
        await self._members.bind(channel)

    def _lost(self, error: BaseException | None) -> None:
        if self._trouble is None:
            self._trouble = failures.lost(error, self._members.place)
            self._woken.set()

    # ---- sharing

    async def _share(self) -> None:
        """Take and give up shards, for ever."""
        try:
            await self._members.wait(HELLO)
            while self._trouble is None:
                await self._share_once()
                await self._members.wait(EVERY)
        except BaseException as error:  # the client library cancels what waits for a lost channel
            if foreign.ends(error, asyncio.current_task()):
                raise
            if self._trouble is None:
                self._trouble = error if isinstance(error, TransientError) else TransientError(foreign.text_of(error))
                self._woken.set()

    async def _share_once(self) -> None:
        others, before = self._members.others, self.shards
        me = Member(self._members.id, frozenset(before), self.known)
        for number in to_take(me, others, self._free_for_long(others)):
            await self._take_over(number)
        if self.shards == before:
            for number in to_give(me, others):
                if number not in self._leaving:
                    self._leaving[number] = asyncio.create_task(self._give(number), name=f"evbus_like shard {number}")
        else:
            await self._say()

    async def _say(self) -> None:
        numbers = ", ".join(map(str, self.shards)) or "none"
        log.info("%s: reads shards %s of %d", self.subscription.queue, numbers, self.known)
        await self._members.say(frozenset(self.shards))

    async def _take_over(self, number: int) -> None:
        """Read a shard, if nobody does."""
        now = asyncio.get_running_loop().time()
        if self._leaderless.get(number, 0.0) > now:
            return
        try:
            feed = await self._open_shard(number, self._woken.set)
        except NoLeader as error:  # the other shards go on
            if number not in self._leaderless:
                log.warning("%s", error)
            self._leaderless[number] = now + LEADERLESS_FOR
            return
        self._leaderless.pop(number, None)
        if feed is not None and self._trouble is not None:  # the connection was lost meanwhile, and this is on the next
            await feed.end()
        elif feed is not None:
            self._feeds[number] = feed
            self._given[feed] = set()
            self._woken.set()

    def _free_for_long(self, others: Iterable[Member]) -> set[int]:
        taken = frozenset(self._feeds).union(*(each.shards for each in others))
        now = asyncio.get_running_loop().time()
        self._free_since = {
            shard: self._free_since.get(shard, now) for shard in range(self.known) if shard not in taken
        }
        return {shard for shard, since in self._free_since.items() if now - since > FREE_FOR_LONG}

    async def _give(self, number: int) -> None:
        """Give a shard up: handlers under way finish first, for two workers must not handle events of one key."""
        feed = self._feeds[number]
        for event in self._given[feed]:
            event.revoked = not event.busy
        try:
            await self._until_idle(number, feed)
            for event in self._given.pop(feed):
                event.revoked = True
            del self._feeds[number]
            await feed.end()
            await self._say()
        except BaseException as error:  # the consumer begins anew
            if foreign.ends(error, asyncio.current_task()):
                raise
            self._lost(error)
        finally:
            self._leaving.pop(number, None)
            self._woken.set()

    async def _until_idle(self, number: int, feed: Feed) -> None:
        """Wait until no handler is at an event of a shard; raises TransientError if its channel is lost."""
        begun, logged = asyncio.get_running_loop().time(), False
        while any(event.busy for event in self._given[feed]):
            await asyncio.sleep(BUSY)  # no event signals it
            feed.ack(())
            if not logged and asyncio.get_running_loop().time() - begun > LONG:
                logged = True
                log.warning(
                    "shard %d of the queue %r is given to another worker once a handler here is done, which has run for"
                    " %g s; give the handler a timeout if it hangs",
                    *(number, self.subscription.queue, LONG),
                )

    # ---- events

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for events; nothing is lost if this is cancelled."""
        while True:
            self._woken.clear()
            if self._trouble is not None:
                raise self._trouble
            events = [
                event
                for number, feed in list(self._feeds.items())
                if number not in self._leaving
                for event in self._take(feed)
            ]
            if events:
                return events
            await self._woken.wait()

    def _take(self, feed: Feed) -> list[ReceivedEvent]:
        events = feed.take()
        for event in events:
            event.order = event.key or event.routing_key
            event.token.feed = feed
        self._given[feed].update(events)
        return events

    def ack(self, events: Iterable[ReceivedEvent]) -> None:
        """Acknowledge events; raises TransientError if a channel is lost."""
        if self._trouble is not None:
            raise self._trouble
        events = list(events)
        settled: dict[Feed, list[ReceivedEvent]] = {} if events else {feed: [] for feed in self._feeds.values()}
        for event in events:
            if event.token.feed in self._given:  # else RabbitMQ has it again
                settled.setdefault(event.token.feed, []).append(event)
        for feed, its in settled.items():
            feed.ack(its)
            self._given[feed].difference_update(its)

    async def end(self) -> None:
        """Give up all shards at once, and tell the other workers."""
        if self._trouble is None:
            self._trouble = TransientError("the feed has ended")
        self._woken.set()
        tasks = [*self._leaving.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # also when the caller waits no longer: else this would keep shards, and announce them, for ever
            feeds, self._feeds = list(self._feeds.values()), {}
            self._given.clear()
            try:
                await asyncio.gather(*(feed.end() for feed in feeds), return_exceptions=True)
            finally:
                await self._members.close()
