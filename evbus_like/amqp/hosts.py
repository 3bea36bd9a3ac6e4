"""The hosts of a cluster: which of them a new connection tries, in which order, and when it tries the next one."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from time import monotonic
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from evbus_like.amqp.settings import Target, for_cluster
from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import DeliveryError, DestinationRefused, TransientError

NEXT_AFTER = 2.0  # seconds without an answer of one host, until the next one is tried beside it
REST, LONGEST_REST = 1.0, 30.0  # seconds that a host comes last after a failure


class Host:
    """What this process knows about one address of a broker; all connections to it share this."""

    def __init__(self) -> None:
        self.connections = 0
        self._backoff = Backoff(REST, LONGEST_REST - REST)
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether it failed a short while ago."""
        return monotonic() < self._rests_until

    def opened(self) -> None:
        """Count a connection."""
        self.connections += 1
        self._backoff.reset()
        self._rests_until = 0.0

    def closed(self) -> None:
        """Count a connection off."""
        self.connections -= 1

    def failed(self) -> None:
        """Let the others be tried first for a while: it could not be reached, or lost a connection."""
        self._rests_until = monotonic() + REST + self._backoff.next()


_known: WeakValueDictionary[tuple[str, int], Host] = WeakValueDictionary()


def host_of(target: Target) -> Host:
    """Return what is known about the host of a target."""
    key = target.address or target.url.host or "", target.url.port or 0
    host = _known.get(key)
    if host is None:
        host = _known[key] = Host()
    return host


class Closable(Protocol):
    """A connection that may be closed."""

    async def close(self) -> None:
        """Close it."""


Opened = TypeVar("Opened", bound=Closable)


class Hosts:
    """The hosts of one profile. A connection goes to the one that answers first.

    They are tried in a random order, those with fewer connections of this process first, and those that failed a short
    while ago last. After a failure the next one is tried at once, and after two seconds without an answer beside it.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self._hosts: dict[Target, Host] = {}  # keeps what is known while the profile lasts

    @property
    def place(self) -> str:
        """Where they are, for messages that are about no connection."""
        return " or ".join(target.place for target in self.targets)

    async def connect(self, open_one: Callable[[Target], Coroutine[Any, Any, Opened]]) -> Opened:
        """Return the first connection that opens; raises a DeliveryError that names all hosts."""
        found = await self._addresses()
        waiting = self._in_order(found)
        errors: dict[Target, DeliveryError] = {}
        trying: dict[asyncio.Task[Opened], Target] = {}
        try:
            while waiting or trying:
                if waiting:
                    target = waiting.pop(0)
                    trying[asyncio.create_task(open_one(target), name=f"evbus_like {target.place}")] = target
                timeout = NEXT_AFTER if waiting else None
                done, _ = await asyncio.wait(trying, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    target, error = trying.pop(task), _error(task)
                    if error is None:
                        return task.result()
                    if not isinstance(error, DeliveryError):
                        raise error
                    errors[target] = error
        finally:
            await _give_up(list(trying))
        failed = [errors[target] for target in found]
        what = "hosts" if len(self.targets) > 1 else "addresses"
        raise failed[0] if len(failed) == 1 else _joined(failed, f"none of {len(failed)} {what} can be used: ")

    async def each(self, check: Callable[[Target], Coroutine[Any, Any, None]]) -> None:
        """Check each host, beside each other; raises a DeliveryError that names those that fail."""
        results = await asyncio.gather(*map(check, self.targets), return_exceptions=True)
        errors = [result for result in results if isinstance(result, DeliveryError)]
        if errors:
            raise _joined(errors, f"{len(errors)} of {len(results)} hosts cannot be used: ")

    async def _addresses(self) -> list[Target]:
        """Return a target for each address of each host."""
        tasks = [asyncio.create_task(_resolve(target)) for target in self.targets]
        try:
            await asyncio.wait(tasks, timeout=NEXT_AFTER)  # one slow name must not keep the others waiting
            found = [
                task.result() if task.done() else [target] for task, target in zip(tasks, self.targets, strict=True)
            ]
        finally:
            for task in tasks:
                task.cancel()
        return [target for targets in found for target in targets]

    def _in_order(self, targets: Sequence[Target]) -> list[Target]:
        self._hosts = {target: host_of(target) for target in targets}

        def rank(target: Target) -> tuple[bool, bool, int, float]:
            host = self._hosts[target]
            return host.rests, target.second_choice, host.connections, random.random()

        return sorted(targets, key=rank)


def _error(task: asyncio.Task[Opened]) -> BaseException | None:
    """Return the error of a finished task; client libraries cancel their callers when a connection dies."""
    return TransientError("connecting was cancelled") if task.cancelled() else task.exception()


async def _give_up(trying: Sequence[asyncio.Task[Opened]]) -> None:
    """End the attempts that are not needed any more, and close what they opened meanwhile."""
    for task in trying:
        task.cancel()
    for result in await asyncio.gather(*trying, return_exceptions=True):
        if not isinstance(result, BaseException):
            with suppress(Exception):
                await result.close()


async def _resolve(target: Target) -> list[Target]:
    """Return a target for each address of the host's name; one that is unknown fails when it is connected to."""
    name = target.url.host or ""
    try:
        ip_address(name)
    except ValueError:
        pass
    else:
        return [target]
    try:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(name, target.url.port, type=socket.SOCK_STREAM)
    except OSError:
        return [target]
    found = {str(info[4][0]): info[0] for info in infos}
    families = list(found.values())
    if families.count(families[0]) > 1:
        target = for_cluster(target)
    return [
        replace(
            target,
            address=address,
            second_choice=family != families[0],
            place=f"{target.place} ({address})" if families.count(family) > 1 else target.place,
        )
        for address, family in sorted(found.items())  # messages stay the same, in whatever order names are resolved
    ]


def _joined(errors: Sequence[DeliveryError], before: str) -> DeliveryError:
    """Return one error for those of several hosts; it is a refusal if all of them are."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    refused = all(isinstance(error, DestinationRefused) for error in errors)
    return (DestinationRefused if refused else TransientError)(before + "; ".join(texts))
