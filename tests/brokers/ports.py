"""Free TCP ports that stay free while a broker is down, also beside other test processes."""

import random
import socket

# Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux), so that no client
# can sit on a broker's port while the broker restarts.
_FIRST, _LAST = 15000, 31999

_reserved: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on; no other call, in whatever process, gets it while this one lives."""
    for port in random.Random().sample(range(_FIRST, _LAST), 500):
        if (reserved := _reserve(host, port)) is not None:
            _reserved.append(reserved)
            return port
    raise RuntimeError(f"no free port on {host} between {_FIRST} and {_LAST}")


def _reserve(host: str, port: int) -> socket.socket | None:
    """A socket bound to the port that does not listen, or None if the port is in use."""
    sock = socket.socket()
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        return None
    # Set after bind: a second bind without it fails, so that two calls never share a port. A server with it, as
    # brokers and asyncio have, may still bind and listen.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock
