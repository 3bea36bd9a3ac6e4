"""Notice arguments that look swapped: `put("text", "p")`, as in pop-evbus, is not `put(body="text", profile="p")`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from evbus_like.engine.event import Event

log = logging.getLogger("evbus_like.bus")

PROFILE = "default"  # of a put that names none
LOOKS = 50  # at as many texts: a look tries every pattern, and a program that swaps arguments does it again and again
LONGEST = 255  # characters of a name


class Swapped:
    """Looks at events of the default profile whose body is a text: it may be the name of another profile."""

    __slots__ = ("_left", "_others", "_seen")

    def __init__(self, others: Sequence[Callable[[str], bool]]) -> None:
        self._others = others  # whether a name is that of a profile which gets no events of the default one
        self._left = LOOKS
        self._seen: set[str] = set()

    def look(self, event: Event) -> None:
        """Log a warning if the body of an event is the name of a profile, once for each name."""
        name = event.body
        if not self._left or event.headers or not event.routing_key:
            return
        self._left -= 1
        if len(name) > LONGEST or name.split() != [name] or name in self._seen:
            return
        self._seen.add(name)
        if any(_does_match(matches, name) for matches in self._others):
            log.warning(
                "the arguments of a put look swapped: its body is %r, which is the name of a profile, and its profile"
                " is %r. The order is put(routing_key, body, profile), and in pop-evbus it was put(body, profile):"
                " write put(body=..., profile=%r) (logged once)",
                name,
                PROFILE,
                name,
            )


def _does_match(matches: Callable[[str], bool], name: str) -> bool:
    try:
        return matches(name)
    except Exception:  # a match plugin that fails says so where it routes
        return False
