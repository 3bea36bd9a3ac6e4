"""Exchanges of services' events: which of them are there, on one connection.

The exchange of the service "users" is the durable topic exchange "users.events", as nameko's dispatchers and handlers
declare it. It is declared, or looked up, on a channel of its own, for a refusal closes the channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures
from evbus_like.engine.errors import DeliveryError, DestinationRefused, PoisonEvent

MISSING_FOR = 15.0  # seconds until an exchange that is not there is looked for again


class Exchanges:
    """Knows the exchanges of services' events of one connection; `there` names those that can be published to."""

    def __init__(self, connection: Any, declares: bool, place: str) -> None:
        self.there: set[str] = set()
        self._connection = connection
        self._declares = declares
        self._place = place
        self._missing: dict[str, float] = {}  # until when

    async def problems(self, names: Iterable[str]) -> dict[str, DeliveryError]:
        """Declare exchanges, or look for them, and say what is wrong with some; raises where the connection is lost."""
        found: dict[str, DeliveryError] = {}
        for name in names:
            if name in self.there:
                continue
            problem = await self._problem(name)
            if problem is None:
                self.there.add(name)
            else:
                found[name] = problem
        return found

    async def _problem(self, name: str) -> DeliveryError | None:
        if self._missing.get(name, 0.0) > monotonic():
            return self._not_there(name)
        channel = await self._connection.channel()
        try:
            if self._declares:
                await channel.declare_exchange(name, "topic", durable=True)
            else:
                await channel.get_exchange(name, ensure=True)
        except aiormq.ChannelNotFoundEntity:
            self._missing[name] = monotonic() + MISSING_FOR
            return self._not_there(name)
        except (aiormq.ChannelAccessRefused, aiormq.ChannelPreconditionFailed) as error:
            return DestinationRefused(
                f"RabbitMQ at {self._place} does not let the exchange {name!r} be"
                f" {'declared as a durable topic exchange' if self._declares else 'looked up'}:"
                f" {failures.text(error)}. Grant the user the right"
                + (", or publish to the exchange as it is: declare_events: false" if self._declares else "")
            )
        finally:
            if not channel.is_closed:
                await channel.close()
        return None

    def _not_there(self, name: str) -> PoisonEvent:
        return PoisonEvent(
            f"RabbitMQ at {self._place} has no exchange {name!r}, and declare_events: false forbids to declare it:"
            " start the service that listens, create the exchange, or take the option away"
        )
