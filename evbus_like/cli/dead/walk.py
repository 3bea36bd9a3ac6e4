"""A walk over all places of a choice, which says in the end where it looked and where it could not."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from evbus_like.cli import shown
from evbus_like.cli.dead.places import OUTBOX, Place, Places
from evbus_like.cli.dead.which import Choice
from evbus_like.engine.errors import EvbusError
from evbus_like.engine.receiving.look import FoundLetter, Look
from evbus_like.hub.secrets import redact

Visit = Callable[[Place, Look, Sequence[FoundLetter]], Awaitable[bool]]  # returns whether to go on


class Walk:
    """Visits the letters of each place, page by page; a place that fails does not keep it from the others."""

    def __init__(self, places: Places, choice: Choice) -> None:
        self.places = places
        self._choice = choice
        self._failed: list[EvbusError] = []

    async def run(self, visit: Visit) -> None:
        """Visit all places until `visit` returns False; raises the error of the only place."""
        for place in self.places.found:
            try:
                if not await self._visit(place, visit):
                    return
            except EvbusError as error:
                self._failed.append(error)
                self.places.unlooked[str(place)] = redact(str(error))
            except TimeoutError:
                self.places.unlooked[str(place)] = "no answer within the profile's timeout"
        if self._failed and not self.places.looked:
            raise self._failed[0]

    async def _visit(self, place: Place, visit: Visit) -> bool:
        async with place.look() as look:
            if look is None:  # nothing was ever given up there
                self.places.looked[str(place)] = 0
                return True
            seen = 0
            async with aclosing(look.pages()) as pages:
                async for page in pages:
                    seen += len(page)
                    wanted = page if place.source == OUTBOX else [each for each in page if self._choice.wants(each)]
                    if wanted and not await visit(place, look, wanted):
                        return False
            self.places.looked[str(place)] = seen
            if look.unseen:
                self.places.unlooked[str(place)] = f"{seen} of {look.expected} letters were seen: {look.unseen}"
        return True

    def report(self, what: str) -> None:
        """Print on stderr what was not looked at."""
        for name, reason in self.places.unlooked.items():
            print(f"evbus dead {what}: not looked at: {shown.visible(f'{name}: {reason}')}", file=sys.stderr)

    @property
    def complete(self) -> bool:
        """Whether every place was looked at."""
        return not self.places.unlooked

    def where(self) -> str:
        """Name the places that were looked at."""
        return "; ".join(self.places.looked) or "no place"

    def as_dict(self) -> dict[str, Any]:
        """Return what was looked at, and what not, as plain data."""
        return self.places.as_dict()
