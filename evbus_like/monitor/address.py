"""The address of the HTTP port, [HOST:]PORT, and who may read it."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass, field

from evbus_like.engine.errors import SettingError

WRITTEN = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@]+):)?(?P<port>[0-9]{1,5})", re.ASCII)
LOCAL = "127.0.0.1"
SHORTEST = 16  # characters of a token


@dataclass(frozen=True)
class Address:
    """A host, without brackets, and a port; port 0 means any free one."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Return the address that a setting names; without a host it is this machine's own. Raises SettingError."""
    match = WRITTEN.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise SettingError(f"the HTTP port must be PORT or HOST:PORT, such as 9464 or 0.0.0.0:9464, not {text[:100]!r}")
    return Address((match["host"] or LOCAL).strip("[]"), int(match["port"]))


def is_local(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_token(token: str | None) -> None:
    """Raise SettingError, without showing it, if a token cannot be sent in a header as it is, or is too short."""
    if token is not None and not re.fullmatch(rf"[!-~]{{{SHORTEST},}}", token):
        raise SettingError(
            f"setting http_token must have at least {SHORTEST} ASCII characters, without spaces and line breaks, for"
            " example what `openssl rand -hex 24` prints"
        )


@dataclass(frozen=True)
class Access:
    """Who may read: with a token those who have it, else everybody who can reach the address."""

    address: Address
    token: str | None = field(default=None, repr=False)

    def check(self, open_to_all: bool) -> None:
        """Raise SettingError if others could read and nobody has allowed that."""
        check_token(self.token)
        if not (self.address.is_local or self.token or open_to_all):
            raise SettingError(
                f"the HTTP port {self.address} can be reached from other machines, so it needs a token that they send"
                " (EVBUS_HTTP_TOKEN), or --http-open to let everybody read it; without a host it is for this machine"
            )

    def allows(self, authorization: str) -> bool:
        """Whether a request with this header may read everything."""
        if self.token is None:
            return True
        kind, _, given = authorization.partition(" ")
        sent = given.strip().encode(errors="surrogateescape")  # any bytes may come
        return kind.lower() == "bearer" and hmac.compare_digest(sent, self.token.encode())

    def knows(self, host: str) -> bool:
        """Whether a request is for this address by its header Host.

        A web page elsewhere can have a browser on this machine ask a local port by a name of its own (DNS rebinding).
        """
        if self.token is not None or not self.address.is_local:
            return True
        name = re.sub(r":[0-9]+$", "", host).strip("[]")
        return is_local(name)
