"""The relay: delivers the rows of the outbox through the lanes of the bus, and deletes them once they are settled.

One task in the listener's loop, with one connection. It renews its leases every second, reads the next rows of each of
its parts, hands them over, and deletes those that all their lanes have delivered or given up. Nothing else in the
database is waited for: neither old snapshots nor transactions that run. After a lost connection everything is read
again; rows that the lanes still have are recognised by their ids. A relay that could not renew its leases in time stops
reading, because another may have its parts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from random import random
from typing import Any, Protocol

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import EvbusError
from evbus_like.postgres.database import BATCH, Database
from evbus_like.postgres.hand_over import Convert, HandOver
from evbus_like.postgres.progress import Progress
from evbus_like.postgres.rows import Dead, Done, Key, Late, Row

log = logging.getLogger("evbus_like.postgres")

POLL = (0.005, 1.0)  # seconds between two reads that find nothing: the first, and the longest
LATE_EVERY = 0.25  # seconds between two looks for rows that were committed late
LATE_SHARE = 10  # times as long as a look takes is the least wait for the next one
MOST_KNOWN = 200_000  # rows that were read and are not deleted
MOST_IN_LANES = 10_000
COUNT_EVERY = 10.0  # seconds between two counts of what waits, for the metrics
DELETE_AFTER = 0.02  # seconds that a few settled rows wait for more
FIRE_AGAIN = 1.0  # seconds after a failure to send what is due
NEVER = float("inf")
RETRY = (0.1, 5.0)  # seconds before the first, and the longest, wait for a new connection
GIVE_UP_AFTER = 2.0  # seconds that a part which another relay should have waits for its events in lanes
STOP = 5.0


class Rows(Protocol):
    """What the relay needs of a table; `table.Table` is one."""

    share: int
    quiet: bool  # whether no transaction ran after the latest read

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def lease(self, owner: str, give_up: Sequence[int], floors: Mapping[int, int]) -> dict[int, int]: ...
    async def release(self, owner: str) -> None: ...
    async def count(self, parts: Iterable[int]) -> tuple[int, float]: ...
    async def count_later(self, parts: Iterable[int]) -> int: ...
    async def fire(self, parts: Iterable[int]) -> tuple[int, float]: ...
    async def read(self, lasts: Mapping[int, int]) -> list[Row]: ...
    async def late(self, floors: Mapping[int, int], lasts: Mapping[int, int], most: int) -> Late: ...
    async def fetch(self, keys: Sequence[Key]) -> list[Row]: ...
    async def delete(self, delivered: Done, dead: Sequence[Dead], others: int) -> None: ...


class Relay:
    """Delivers the rows of one database; `failures` are the errors that a database may raise."""

    def __init__(
        self, bus: Bus, database: Database, table: Rows, convert: Convert, failures: tuple[type[Exception], ...] = ()
    ) -> None:
        self._bus = bus
        self.database = database
        self._table = table
        self._failures: tuple[type[Exception], ...] = (*failures, OSError, TimeoutError, EvbusError)
        self.owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.progress = Progress()
        self.hand_over = HandOver(bus, database.label, convert)
        self.state = "starting"
        self.trouble = self._fire_trouble = ""
        self.delivered = self.dead_lettered = self.waiting = self.scheduled = 0
        self.oldest_age = 0.0
        self._task: asyncio.Task[None] | None = None
        self._stopping = self._ending = False
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lease_due = self._lease_ends = self._late_due = self._fire_due = self._count_due = self._deleted = 0.0
        self._leaving: set[int] = set()  # parts that another relay should have
        self._leaving_since = 0.0
        self._poll = POLL[0]
        self._count_later = False  # whether it is time to count what is not due yet
        self._whole = True  # whether the latest look found all late rows
        self._quiet = False  # whether nothing can be committed late behind the read before the latest one
        self._reading: asyncio.Task[list[Row]] | None = None
        self._deleting: asyncio.Task[None] | None = None

    # ---- life cycle

    def start(self) -> None:
        """Begin; the relay connects by itself."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"evbus_like relay {self.database.label}")

    def stop_reading(self) -> None:
        """Hand over nothing more; what the lanes deliver is still deleted."""
        self._stopping = True
        self.soon(True)

    async def close(self) -> None:
        """Delete what is settled, give the parts up and disconnect."""
        self._stopping = self._ending = True
        self.soon(True)
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP)
        if self._deleting is not None:
            await asyncio.wait([self._deleting], timeout=STOP)
        await self._end_tasks()
        with suppress(*self._failures):
            async with asyncio.timeout(STOP):
                if self.state == "open":
                    await self._delete()
                    await self._table.release(self.owner)
        self.state = "closed"
        await self._table.close()

    def soon(self, now: bool, later: bool = False) -> None:
        """Look for rows soon, from any thread: an event was stored; `now` if its transaction was committed too.

        `later` is whether it is to be sent later.
        """
        long = self._poll > POLL[0]
        if later:
            self._fire_due = 0.0
        self._poll = POLL[0]
        if (now or long) and self._loop is not None and self._wake is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def status(self) -> dict[str, Any]:
        """Return the state and counts as plain data."""
        return {
            "state": self.state,
            "parts": len(self.progress.lasts),
            "waiting": self.waiting,
            "oldest_age": self.oldest_age,
            "scheduled": self.scheduled,
            "unmatched": self.hand_over.unmatched,
            "in_lanes": self.hand_over.in_lanes,
            "delivered": self.delivered,
            "dead": self.dead_lettered,
            "trouble": self.trouble,
        }

    # ---- the task

    async def _run(self) -> None:
        wait = RETRY[0]
        while True:
            try:
                await self._end_tasks()
                await self._table.open()
                self.progress.restart()
                self._quiet = False
                self._lease_due = self._lease_ends = 0.0
                if self.trouble:
                    log.warning("%s answers again", self.database.label)
                self.state, self.trouble, wait = "open", "", RETRY[0]
                await self._serve()
            except self._failures as error:
                text = " ".join(str(error).split()) or f"{type(error).__name__}: no answer"
                if text != self.trouble:
                    log.warning("%s: %s; its events wait in the table", self.database.label, text)
                self.state, self.trouble = "retrying", text
            except Exception as error:  # a bug must not end the deliveries silently
                log.exception("%s: the relay failed", self.database.label)
                self.state, self.trouble = "retrying", f"{type(error).__name__}: {error}"
            if self._ending:
                return
            await self._table.close()
            await asyncio.sleep(wait * (0.5 + random() / 2))
            wait = min(RETRY[1], wait * 2)

    async def _serve(self) -> None:
        assert self._wake is not None
        loop = asyncio.get_running_loop()
        while not self._ending:
            self._wake.clear()  # before the reads: what is stored after them ends the pause
            now = loop.time()
            if now >= self._lease_due:
                await self._lease(now)
            moved = await self._delete_some(now)
            if not self._stopping and now < self._lease_ends:
                moved += await self._again()
                if now >= self._fire_due:
                    moved += await self._fire(loop)
                if self._may_read():
                    moved += await self._read(loop)
                if now >= self._late_due:
                    moved += await self._late(loop)
            if moved:
                self._poll = POLL[0]
                await asyncio.sleep(0)  # the lanes and their puts have a turn
            else:
                await self._pause(loop)

    async def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._wake is not None
        pause = min(self._poll, LATE_EVERY if self.progress.lasts else self._poll)
        if self.progress.lasts and not self._stopping:
            pause = min(pause, max(0.0, self._fire_due - loop.time()))
        if self.hand_over.in_lanes or self.hand_over.settled or self.hand_over.held:
            pause = min(pause, DELETE_AFTER)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
        self._poll = min(POLL[1], self._poll * 2)

    def _may_read(self) -> bool:
        return (
            self.progress.known < MOST_KNOWN
            and self.hand_over.in_lanes < MOST_IN_LANES
            and not self.hand_over.is_busy()
        )

    # ---- one step each

    async def _lease(self, now: float) -> None:
        lease = self.database.lease
        mine = await self._table.lease(self.owner, self._surplus(now), self.progress.safe_floors())
        self._lease_due, self._lease_ends = now + min(1.0, lease / 4), now + lease
        lost = self.progress.own(mine)
        if lost:
            self.progress.forget(self.hand_over.drop(lost))
        if now >= self._count_due:
            begun = asyncio.get_running_loop().time()
            self.waiting, self.oldest_age = await self._table.count(mine)
            self._count_later = True
            self._count_due = now + max(COUNT_EVERY, 50 * (asyncio.get_running_loop().time() - begun))

    def _surplus(self, now: float) -> list[int]:
        """Return parts that other relays should have, once the lanes have delivered what they have of them."""
        share = self._table.share
        extra = sorted(self.progress.lasts)[share:] if share and not self._stopping else []
        if not self._leaving:
            self._leaving_since = now
        self._leaving = {*extra}
        if any(self.progress.known_of(part) for part in extra) and now - self._leaving_since < GIVE_UP_AFTER:
            return []
        return extra

    async def _fire(self, loop: asyncio.AbstractEventLoop) -> int:
        """Send what is due, and return how many events that is."""
        begun, parts = loop.time(), self._lasts()
        self._fire_due = begun + LATE_EVERY  # `soon` may set an earlier time while the database works
        try:
            fired, left = await self._table.fire(parts) if parts else (0, NEVER)
            if self._count_later:
                self.scheduled = await self._table.count_later(self.progress.lasts)
                self._count_later = False
        except self._failures as error:
            if isinstance(error, OSError):  # also a TimeoutError
                raise
            self._cannot_fire(error)  # a full disk, missing rights: other events are delivered meanwhile
            return 0
        if self._fire_trouble:
            self._fire_trouble = self.trouble = ""
        if fired:
            self._fire_due = 0.0  # there may be more
        elif self._fire_due:
            wait = max(LATE_EVERY, LATE_SHARE * (loop.time() - begun))
            self._fire_due = loop.time() + (min(wait, left) if left > 0 else wait)  # else a transaction has it locked
        return fired

    def _cannot_fire(self, error: Exception) -> None:
        text = f"events that are due wait in the table evbus_scheduled: {' '.join(str(error).split())}"
        if text != self._fire_trouble:
            self._fire_trouble = self.trouble = text
            log.warning("%s: %s", self.database.label, text)
        self._fire_due = asyncio.get_running_loop().time() + FIRE_AGAIN

    def _lasts(self) -> dict[int, int]:
        return {part: last for part, last in self.progress.lasts.items() if part not in self._leaving}

    def _begin_read(self) -> None:
        if lasts := self._lasts():
            self.progress.begin_read()
            self._reading = asyncio.create_task(self._table.read(lasts), name="evbus_like relay reads")

    async def _read(self, loop: asyncio.AbstractEventLoop) -> int:
        """Hand over what was read; if there is more, the database reads that meanwhile."""
        if self._reading is None:
            self._begin_read()
        reading, self._reading = self._reading, None
        if reading is None:
            return 0
        rows = await reading
        parts = {*self._lasts()}
        if not parts.issuperset({row[0] for row in rows}):
            rows = [row for row in rows if row[0] in parts]
        lasts = dict(self.progress.lasts)
        fresh = self.progress.take(rows)
        quiet, self._quiet = self._quiet, self._table.quiet
        if fresh and not quiet:
            # What was committed late is older, and an event of the same key may be among these.
            try:
                late = await self._late_rows(loop)
            except BaseException:
                self.progress.forget(row[:3] for row in fresh)  # no lane has them: they are to be read again
                raise
            if not self._whole:  # there are more: these are read again, after them
                self.progress.forget(row[:3] for row in fresh)
                self.progress.lasts.update(lasts)
                self._quiet, fresh = False, []
            fresh = sorted([*late, *fresh], key=itemgetter(0, 1))
        if len(rows) >= BATCH and self._may_read():
            self._begin_read()
        return await self._took(loop, fresh)

    async def _late(self, loop: asyncio.AbstractEventLoop) -> int:
        return await self._took(loop, await self._late_rows(loop))

    async def _late_rows(self, loop: asyncio.AbstractEventLoop) -> list[Row]:
        """Look for rows that were committed late."""
        progress, begun, lasts = self.progress, loop.time(), self._lasts()
        if not lasts:
            return []
        most = progress.known + BATCH
        found = await self._table.late(progress.begin_look(begun), lasts, most)
        keys = progress.unknown(found.keys)
        rows = progress.take(await self._table.fetch(keys[:BATCH]), late=True) if keys else []
        self._whole = len(found.keys) < most and len(keys) <= BATCH
        progress.end_look(begun, loop.time(), found.oldest, found.newest, self._whole)
        self._late_due = loop.time() + max(LATE_EVERY, LATE_SHARE * (loop.time() - begun))
        return rows

    async def _took(self, loop: asyncio.AbstractEventLoop, rows: list[Row]) -> int:
        """Hand over rows, a share at a time."""
        for start in range(0, len(rows), BATCH):
            # The database took so long that another relay may have these parts, or the bus stops.
            if self._stopping or loop.time() >= self._lease_ends:
                self.progress.forget(row[:3] for row in rows[start:])
                self.progress.restart()
                self._lease_due = 0.0
                return start
            self.hand_over.take(rows[start : start + BATCH] if len(rows) > BATCH else rows)
            await asyncio.sleep(0)
        return len(rows)

    async def _again(self) -> int:
        """Hand over rows that were held, where there is room now."""
        if not self.hand_over.held:
            return 0
        before = self.hand_over.in_lanes
        for profile, keys in self.hand_over.waiting():
            try:
                rows = await self._table.fetch(keys)
            except BaseException:
                self.hand_over.give_back(profile, keys)
                raise
            self.progress.forget(self.hand_over.take_again(keys, rows))
        return int(self.hand_over.in_lanes != before)

    async def _delete_some(self, now: float) -> int:
        """Begin to delete settled rows, beside the reads, unless few are and more will be soon."""
        if self._deleting is not None:
            if not self._deleting.done():
                return 0
            deleting, self._deleting = self._deleting, None
            await deleting
        count = len(self.hand_over.settled) + len(self.hand_over.dead)
        if not count or (count < BATCH and self.hand_over.in_lanes and now - self._deleted < DELETE_AFTER):
            return 0
        self._deleting = asyncio.create_task(self._delete(), name="evbus_like relay deletes")
        self._deleting.add_done_callback(lambda _: self.soon(True))
        self._deleted = now
        return 0

    async def _end_tasks(self) -> None:
        """Wait for what is under way, which the database may not answer any more; its outcome does not matter."""
        tasks = [task for task in (self._reading, self._deleting) if task is not None]
        self._reading = self._deleting = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _delete(self) -> None:
        """Delete rows that are settled; those that a closed lane gave back are held."""
        settled, hopeless = self.hand_over.collect()
        done: Done = {}
        dead = [*hopeless]
        given_back: dict[str, list[Key]] = {}
        part = -1
        ids: list[int] = []
        names: list[str] = []
        for row in settled:
            if row.failures is None:
                if row.part != part:
                    part = row.part
                    ids, names = done.setdefault(part, ([], []))
                ids.append(row.number)
                names.append(row.event_id)
            elif row.given_back:
                given_back.setdefault(row.profile, []).append(row.key)
            else:
                for name, error in row.failures:
                    dead.append(Dead(row.key, name, f"{type(error).__name__}: {error}", not self._keeps(name)))
        try:
            count = sum([len(ids) for ids, _ in done.values()])
            if done or dead:
                await self._table.delete(done, dead, self.progress.known - count)
        except BaseException:
            self.hand_over.put_back(settled, hopeless)
            raise
        for profile, keys in given_back.items():
            self.hand_over.give_back(profile, keys)
        gone = {each.key for each in dead}
        self.progress.forget_done(done)
        self.progress.forget(gone)
        self.delivered += count
        self.dead_lettered += len(gone)

    def _keeps(self, name: str) -> bool:
        """Whether the dead letters of a destination are kept by its lane: in the outbox on disk, or by a profile."""
        lane = next((lane for lane in self._bus.lanes if lane.name == name), None)
        return lane is not None and (lane.outbox is not None or lane.options.dead_letter is not None)
