"""Which dead letters a command works on: those that it names, or all that match the filters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from evbus_like.cli import shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine import suggest
from evbus_like.engine.dead_reasons import parts_of
from evbus_like.engine.outbox import DeadFilter
from evbus_like.engine.receiving.look import FoundLetter

FILTERS = ("destination", "dead_handler", "profile", "routing_key", "reason", "older_than")
LONGEST = 255  # characters of a number, or of an id


@dataclass(frozen=True)
class Choice:
    """Dead letters by number, which the outbox gives, by the ids of events, or by filters."""

    numbers: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    destination: str | None = None
    dead_handler: str | None = None
    profile: str | None = None
    routing_key: str | None = None
    reason: str | None = None
    older_than: float | None = None  # seconds since 1970
    limit: int | None = None

    @property
    def named(self) -> bool:
        """Whether it names letters."""
        return bool(self.numbers or self.ids)

    @property
    def in_outbox(self) -> bool:
        """Whether the outbox may have such letters."""
        return self.dead_handler is None

    @property
    def at_brokers(self) -> bool:
        """Whether a handler may have such letters."""
        return self.destination is None and not (self.named and not self.ids)

    @property
    def of_outbox(self) -> DeadFilter:
        """The filter for the outbox."""
        return DeadFilter(self.destination, self.profile, self.routing_key, self.reason, self.older_than)

    def may_own(self, handler: str) -> bool:
        """Whether a handler's letters may match."""
        return self.dead_handler is None or fnmatchcase(handler, self.dead_handler)

    def may_be_for(self, destination: str) -> bool:
        """Whether a destination's letters may match."""
        return self.destination in (None, destination)

    def wants(self, letter: FoundLetter) -> bool:
        """Whether a letter that is not in the outbox matches; one without a known age is not older than anything."""
        if self.named and not {letter.name, letter.id} & {*self.ids}:
            return False
        return (
            (self.profile is None or letter.profile == self.profile)
            and (self.routing_key is None or fnmatchcase(letter.routing_key, self.routing_key))
            and all(part.lower() in letter.reason.lower() for part in parts_of(self.reason))
            and (self.older_than is None or (letter.died is not None and letter.died < self.older_than))
        )


def filtered(settings: Any) -> Choice:
    """Return the choice of the filters alone; raises UsageError."""
    values = {name: settings[name] for name in FILTERS if settings[name] is not None}
    if settings.limit is not None:
        values["limit"] = int(settings.limit)
    if "older_than" in values:
        try:
            values["older_than"] = time.time() - shown.seconds(str(values["older_than"]))
        except ValueError as error:
            raise UsageError(f"--older-than: {error}") from None
    if "destination" in values and "dead_handler" in values:
        raise UsageError("--destination and --handler exclude each other: a letter is of one of them")
    return Choice(**values)


def named(settings: Any) -> Choice:
    """Return the choice of the letters that the command line names, by number or id of the event; raises UsageError."""
    given = dict.fromkeys(settings.numbers)
    for text in given:
        if not 0 < len(text) <= LONGEST:
            raise UsageError(f"{suggest.shown(text)} is neither the number of a dead letter nor the id of an event")
    numbers = sorted({int(text) for text in given if _is_number(text)})
    return Choice(tuple(numbers), tuple(text.removeprefix("id:") for text in given if not _is_number(text)))


def chosen(settings: Any, what: str) -> Choice:
    """Return what `replay` or `purge` works on; raises UsageError."""
    by_filter = any(settings[name] is not None for name in (*FILTERS, "limit"))
    if bool(settings.numbers) == bool(settings.all) or (settings.numbers and by_filter):
        raise UsageError(
            f"name dead letters: `evbus dead {what} NUMBER ...`, or `evbus dead {what} --all` with filters such as"
            " --destination; `evbus dead ls` has the same filters"
        )
    return named(settings) if settings.numbers else filtered(settings)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
