"""Free TCP ports that stay free while a broker is down."""

import random
import socket
import threading

# Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux), so that no client
# can sit on a broker's port while the broker restarts.
_FIRST, _LAST = 15000, 31999

_taken: set[int] = set()
_lock = threading.Lock()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on and that this process has not been given before."""
    with _lock:
        for port in random.Random().sample(range(_FIRST, _LAST), 500):
            if port not in _taken and _is_free(port):
                _taken.add(port)
                return port
    raise RuntimeError(f"no free port on 127.0.0.1 between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
