"""Brokers that somebody else runs: the same attributes to read, without TLS, and no control over them."""

from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from .needs import AMQP_URL, KAFKA_BOOTSTRAP


class OutsideBroker:
    """A broker that is not ours: a test that wants to control it is skipped."""

    certs = None

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def _refuse(self, *_arguments: object, **_options: object) -> NoReturn:
        pytest.skip(f"needs a broker of our own: {self._variable} names one that runs elsewhere")

    start = stop = kill = restart = pause = resume = ctl = evaluate = queues = needs_tls = _refuse

    def close(self) -> None:
        """Nothing: it goes on running."""


class OutsideRabbitMQ(OutsideBroker):
    """The RabbitMQ at `url`."""

    tls_url = tls_port = None

    def __init__(self, url: str) -> None:
        super().__init__(AMQP_URL)
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname, parts.port or 5672


class OutsideKafka(OutsideBroker):
    """The Kafka at `bootstrap`, a "host:port"."""

    ssl_bootstrap = sasl_bootstrap = sasl_user = sasl_password = None

    def __init__(self, bootstrap: str) -> None:
        super().__init__(KAFKA_BOOTSTRAP)
        self.bootstrap = bootstrap
        host, _, port = bootstrap.partition(",")[0].rpartition(":")
        self.host, self.port = host, int(port)
