"""The brokers of one session, started at the same time and taken down together."""

import os
import threading
from collections.abc import Callable, Iterable

from .kafka import Kafka
from .needs import AMQP_URL, KAFKA_BOOTSTRAP, kafka_missing, postgres_missing, rabbitmq_missing
from .outside import OutsideKafka, OutsideRabbitMQ
from .postgres import PostgreSQL
from .rabbitmq import RabbitMQ

Ours = RabbitMQ | Kafka | PostgreSQL
Broker = Ours | OutsideRabbitMQ | OutsideKafka


class Unavailable(Exception):
    """A broker cannot be had on this machine; the message says why and what to do."""


class Fleet:
    """Brokers by name ("rabbitmq", "kafka", "postgres").

    Those in `wanted` start in the background at once, others when asked for. Use it in a `with`: they end with it.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._starts = {name: _Start(name) for name in sorted(wanted)}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def get(self, name: str) -> Broker:
        """The started broker; Unavailable if this machine lacks its program, BrokerError if it would not start."""
        if name not in self._starts:
            self._starts[name] = _Start(name)
        return self._starts[name].result()

    def close(self) -> None:
        """Take all of them down."""
        for start in self._starts.values():
            start.close()


class _Start:
    """One broker that a thread starts."""

    def __init__(self, name: str) -> None:
        self._problem: Exception | None = None
        self._broker: Broker | None = None
        self._thread: threading.Thread | None = None
        try:
            self._broker = _make(name)
        except Unavailable as problem:
            self._problem = problem
        if isinstance(self._broker, Ours):
            # A daemon: an interrupted session must not wait here for a broker that is still starting.
            self._thread = threading.Thread(target=self._run, args=(self._broker,), daemon=True)
            self._thread.start()

    def _run(self, broker: Ours) -> None:
        try:
            broker.start()
        except Exception as problem:
            self._problem = problem

    def result(self) -> Broker:
        if self._thread:
            self._thread.join()
        if self._problem:
            raise self._problem
        assert self._broker
        return self._broker

    def close(self) -> None:
        if self._broker:
            self._broker.close()
        if self._thread:
            self._thread.join()


def _make(name: str) -> Broker:
    if name == "postgres":
        if reason := postgres_missing():
            raise Unavailable(reason)
        return PostgreSQL()
    kinds: dict[str, tuple[str, Callable[[str], Broker], Callable[[], str | None], Callable[[], Broker]]] = {
        "rabbitmq": (AMQP_URL, OutsideRabbitMQ, rabbitmq_missing, RabbitMQ),
        "kafka": (KAFKA_BOOTSTRAP, OutsideKafka, kafka_missing, Kafka),
    }
    variable, outside, missing, ours = kinds[name]
    if address := os.environ.get(variable):
        return outside(address)
    if reason := missing():
        raise Unavailable(reason)
    return ours()
