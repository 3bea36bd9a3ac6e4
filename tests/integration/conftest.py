"""Fixtures: a Kafka that creates no topics, TLS servers, credentials files, and checks for leaks and endless loops."""

import asyncio
import gc
import json
import signal
import ssl
import warnings
from contextlib import asynccontextmanager

import pytest

from tests.brokers.kafka import Kafka
from tests.brokers.needs import in_ci, kafka_missing


@pytest.fixture(scope="session")
def strict_kafka():
    """A Kafka of our own that does not create topics automatically."""
    if reason := kafka_missing():
        (pytest.fail if in_ci() else pytest.skip)(reason)
    broker = Kafka(auto_create_topics=False)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def tls_server():
    """Run a TLS server with a certificate; gives its port and the connections that passed the handshake."""

    @asynccontextmanager
    async def serve(pem):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        accepted = []

        async def accept(reader, writer):
            accepted.append(writer)
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1], accepted

    return serve


@pytest.fixture
def credentials(tmp_path):
    """Write a credentials file that only its owner can read."""

    def write(data):
        path = tmp_path / "credentials.yml"
        path.write_text(json.dumps(data))
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture
def no_endless_loop():
    """Break an endless loop of the code under test, which no deadline of the event loop could end."""

    def break_it(_signal, frame):
        pytest.fail(f"the event loop was blocked in {frame.f_code.co_qualname}, {frame.f_code.co_filename}")

    before = signal.signal(signal.SIGALRM, break_it)
    signal.setitimer(signal.ITIMER_REAL, 30.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_leak():
    """Make a test fail that leaves a connection open, instead of the test that runs when it is garbage-collected.

    Objects kept alive by the log records of the previous test are collected first, because aiokafka 0.14 leaks the
    socket of a connection attempt that is cancelled, such as one to a dead broker.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    yield
    gc.collect()
