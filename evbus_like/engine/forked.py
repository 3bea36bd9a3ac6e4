"""A forked child and the event loop of its parent.

Linux lets both have one epoll. When the child ends as Python does, its loop would take the parent's sockets out of it,
and the parent would never hear of them again, nor be woken by its own threads.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
from typing import Any


def detach(loop: Any) -> None:
    """Give the loop of a forked child an epoll of its own, and a way of its own for threads to wake it.

    Of what it had registered, the child hears no more. Raises nothing for loops of another kind.
    """
    selector, inner, outer = (getattr(loop, name, None) for name in ("_selector", "_ssock", "_csock"))
    if not hasattr(selectors, "EpollSelector") or not isinstance(selector, selectors.EpollSelector):
        return
    if not isinstance(inner, socket.socket) or not isinstance(outer, socket.socket) or inner.fileno() < 0:
        return
    ours, theirs = socket.socketpair()
    with select.epoll() as fresh, ours, theirs:
        for each, old in ((ours, inner), (theirs, outer)):
            each.setblocking(False)
            os.dup2(each.fileno(), old.fileno(), inheritable=False)
        fresh.register(inner.fileno(), select.EPOLLIN)
        os.dup2(fresh.fileno(), selector.fileno(), inheritable=False)
