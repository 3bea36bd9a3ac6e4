"""Calls over RabbitMQ, nameko: a service in one process, and the proxy of another service in this one.

It runs on Python 3.8 to 3.10, with eventlet: calls that go on at once are green threads.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402 - after the patch
from time import perf_counter  # noqa: E402
from types import SimpleNamespace  # noqa: E402

from calling import WARM_UP, Timing, ready, serving  # noqa: E402
from eventlet.hubs import trampoline  # noqa: E402
from kombu import Connection  # noqa: E402
from measure import bodies, config  # noqa: E402
from nameko.containers import ServiceContainer, WorkerContext  # noqa: E402
from nameko.rpc import RpcProxy, rpc  # noqa: E402


class Served:
    """The service that is called."""

    name = "bench-nameko"

    @rpc
    def echo(self, body):
        """Give it back."""
        return body


class Caller:
    """The service that calls."""

    name = "bench-nameko-caller"
    served = RpcProxy("bench-nameko")


def container(kind, asked):
    """Give a service that is ready to start."""
    return ServiceContainer(kind, {"AMQP_URI": asked["amqp_url"], "max_workers": 100})


def serve(asked):
    """Be the server."""
    own = container(Served, asked)
    own.start()
    ready()
    trampoline(sys.stdin, read=True)  # until the client closes it
    own.stop()


def call(asked):
    """Be the client."""
    with serving(asked) as server:
        own = container(Caller, asked)
        own.start()
        (provider,) = own.dependencies
        proxy = provider.get_dependency(WorkerContext(own, Caller, SimpleNamespace(method_name="call")))
        timing = Timing(server)

        def caller(stream):
            for body in stream:
                start = perf_counter()
                answer = proxy.echo(body=body)
                timing.took.append(perf_counter() - start)
                assert answer == body, answer

        def call_all(count):
            stream = bodies(asked, count)
            for each in [eventlet.spawn(caller, stream) for _ in range(asked["in_flight"])]:
                each.wait()

        call_all(WARM_UP)
        timing.begin()
        call_all(asked["events"])
        timing.end(asked["events"])
        own.stop()
    with Connection(asked["amqp_url"]) as connection:
        connection.default_channel.queue_delete("rpc-bench-nameko")


asked = config()
(serve if asked.get("serve") else call)(asked)
