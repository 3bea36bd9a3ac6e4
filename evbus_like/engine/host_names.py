"""The names and addresses of hosts in profiles: whether there can be such a host."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple

NAME = re.compile(r"[\w.-]+")
WITH_PORT = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?")


class HostAndPort(NamedTuple):
    """A host, an IPv6 address without its brackets, and its port, None if none is given."""

    host: str
    port: int | None


def is_host(text: str) -> bool:
    """Return whether a text is the name or the address of a host; what only a name service knows is not asked."""
    try:
        if ":" in text:
            IPv6Address(text)
        else:
            text.encode("idna")  # raises for parts that are empty or longer than 63 bytes
    except ValueError:
        return False
    return ":" in text or NAME.fullmatch(text) is not None


def host_and_port(text: str) -> HostAndPort | None:
    """Split host, host:port, [address] or [address]:port; None if it is none of these. The port may be too large."""
    form = WITH_PORT.fullmatch(text)
    host = form[1].strip("[]") if form is not None else ""
    if form is None or not is_host(host) or ("[" in text) != (":" in host):
        return None
    return HostAndPort(host, int(form[2]) if form[2] else None)
