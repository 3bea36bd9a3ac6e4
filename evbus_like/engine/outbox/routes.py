"""Routes: the sets of destinations that events have, each with a number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Route:
    """A route: its number, the names of its destinations, and these as the JSON that the file holds."""

    number: int
    names: tuple[str, ...]
    text: str


class Routes:
    """The routes of a file, by their names, and by the name of a destination."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self.by_names: dict[tuple[str, ...], Route] = {}
        self._of: dict[str, list[Route]] = {}
        self._next = 1
        for route in routes:
            self._add(route)

    def of(self, destination: str) -> list[Route]:
        """Give the routes that lead to a destination."""
        return self._of.get(destination, [])

    def all(self) -> Iterable[Route]:
        """Give all of them."""
        return self.by_names.values()

    def make(self, names: tuple[str, ...]) -> Route:
        """Make a new one."""
        route = Route(self._next, names, json.dumps(names))
        self._add(route)
        return route

    def _add(self, route: Route) -> None:
        self.by_names[route.names] = route
        for name in route.names:
            self._of.setdefault(name, []).append(route)
        self._next = max(self._next, route.number + 1)


def read_routes(connection: sqlite3.Connection) -> Routes:
    """Read the routes of a file."""
    rows = connection.execute("SELECT id, destinations FROM routes ORDER BY id").fetchall()
    return Routes(Route(number, tuple(json.loads(text)), text) for number, text in rows)
