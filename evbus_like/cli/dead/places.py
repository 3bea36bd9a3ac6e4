"""Where dead letters are: the outbox, and a queue or topic for each handler and service of the applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from evbus_like.cli import application, common, file, receivers
from evbus_like.cli.dead import stored
from evbus_like.cli.dead.which import Choice
from evbus_like.cli.errors import UsageError
from evbus_like.engine.receiving.look import Look
from evbus_like.engine.receiving.subscription import BROADCAST
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.hub import outbox_place
from evbus_like.hub.application import handlers
from evbus_like.hub.profiles import plan

OUTBOX = "outbox"
UNKNOWN = "the names of queues that handlers of other applications, or of earlier versions, had are not known"


@dataclass(frozen=True)
class Place:
    """One place: `source` is "outbox" or a profile, `where` a path or the name of a queue, `owner` a handler."""

    source: str
    where: str
    owner: str
    queue: str  # the handler's own
    look: Callable[[], AbstractAsyncContextManager[Look | None]]

    def __str__(self) -> str:
        return f"{self.source} {self.where}"


@dataclass
class Places:
    """The places to look at, those that nobody can look at, with the reason, and what was looked at."""

    found: list[Place] = field(default_factory=list)
    unlooked: dict[str, str] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what was looked at, and what not, as plain data."""
        return {
            "looked_at": [{"place": name, "dead_letters": count} for name, count in self.looked.items()],
            "not_looked_at": [{"place": name, "reason": reason} for name, reason in self.unlooked.items()],
        }


async def find(hub: Any, choice: Choice) -> Places:
    """Return the places that a choice may have letters in; raises UsageError for an --at that is none."""
    options, places = hub.OPT.evbus_like, Places()
    at = options.dead_place
    if choice.in_outbox and at in (None, OUTBOX):
        path = file.path(hub)
        workers = [] if choice.numbers else [each for each in outbox_place.of_workers(path) if each != path]
        for each in (path, *workers):
            places.found.append(Place(OUTBOX, str(each), "", "", partial(stored.look, each, choice)))
    if not choice.at_brokers or at == OUTBOX:
        return places
    if not options.acct_file:
        if at is not None:
            await common.read_credentials(hub)  # raises: it says how to name one
        places.unlooked["dead letters of handlers"] = "they are at brokers: name the credentials file, --acct-file FILE"
        return places
    await _of_receivers(hub, choice, at, places)
    return places


async def _of_receivers(hub: Any, choice: Choice, at: str | None, places: Places) -> None:
    given = await common.contexts(hub)
    application.load(hub)
    found, wrong = receivers.found(hub, given, (), ())
    known = {each.source.name for each in found}
    if at is not None and not any(_is_at(name, at) for name in known):
        raise UsageError(f"--at {shown(at)}: no handler or service reads from it; {did_you_mean(at, [OUTBOX, *known])}")
    places.unlooked |= {f"dead letters of the {part}": text for part, text in wrong}
    for each in found:
        if (at is None or _is_at(each.source.name, at)) and choice.may_own(owner_of(each)):
            if each.subscription.delivery == BROADCAST and not handlers.identifier(hub, each.invoker.handler.options):
                reason = "its queue has a random name in each process: set broadcast_identifier"
                places.unlooked[f"dead letters of {each.name}"] = reason
            else:
                look = partial(each.source.dead_letters, each.subscription)
                places.found.append(
                    Place(each.source.name, each.subscription.dead, owner_of(each), each.subscription.queue, look)
                )
    if at is None:
        places.unlooked |= dict(_elsewhere(hub, given, choice))


def owner_of(each: receivers.Receiver) -> str:
    """Return the name of a handler, SERVICE.NAME, or of what else receives."""
    return f"{each.subscription.service}.{each.subscription.name}"


def _elsewhere(hub: Any, given: Mapping[str, Any], choice: Choice) -> Iterator[tuple[str, str]]:
    """Yield the destinations whose dead letters go to a profile."""
    for item in plan.plan(hub, given) if choice.in_outbox else ():
        if item.options is not None and item.options.dead_letter and choice.may_be_for(item.name):
            to = item.options.dead_letter
            yield f"dead letters for {item.name}", f"they are events of the profile {to!r} (its option dead_letter)"


def _is_at(name: str, at: str) -> bool:
    return at in (name, name.partition(":")[2]) or fnmatchcase(name, at)
