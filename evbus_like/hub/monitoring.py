"""What the bus of a hub shows of itself: its status document, and the HTTP port on which others read it."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import LifecycleError, SettingError
from evbus_like.hub import interface, outbox_place
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub
from evbus_like.hub.secrets import redact
from evbus_like.hub.surviving import surviving
from evbus_like.monitor import document, folder, usage
from evbus_like.monitor.address import Access, parse
from evbus_like.monitor.document import Process, Status
from evbus_like.monitor.interface import Interface
from evbus_like.monitor.local import LocalSocket
from evbus_like.processes.worker import THIS
from evbus_like.version import version

if TYPE_CHECKING:
    from evbus_like.monitor.instruments import ProcessReader
    from evbus_like.monitor.server import Port

log = logging.getLogger("evbus_like.http")


class Monitor:
    """Shows one hub's bus while somebody can ask, or the workers of a supervisor, for which `ask` asks.

    Their application is what `describe` returns.
    """

    def __init__(
        self,
        hub: Hub,
        ask: Callable[[], Awaitable[Status]] | None = None,
        describe: Callable[[], Interface] | None = None,
    ) -> None:
        self._hub = hub
        self._ask = ask
        self._describe = describe
        self._delay = usage.LoopDelay()
        self._port: Port | None = None
        self._socket: LocalSocket | None = None
        self._reader: ProcessReader | None = None

    def process(self) -> Process:
        """Return the document of this process; cheap, and all of it is what the engine counts anyhow."""
        hub = self._hub
        rpc = hub.evbus.rpc.status()
        return {
            "pid": os.getpid(),
            "worker": THIS.number if THIS is not None else None,
            "application": outbox_place.application(hub),
            "version": version,
            "started": usage.STARTED,
            "used": usage.used(),
            "loop": self._delay.delays.as_dict(),
            "bus": _clean(hub.evbus.init.status()),
            "handlers": _clean(hub.evbus.handlers.status()),
            "services": _clean(rpc["serving"]),
            "calls": _clean(rpc["calling"]),
        }

    async def status(self) -> Status:
        """Return the whole document."""
        return document.status([self.process()]) if self._ask is None else await self._ask()

    def interface(self) -> Interface:
        """Return what the application declares, handles and serves."""
        return interface.of(self._hub) if self._describe is None else self._describe()

    async def open_port(self, access: Access) -> str:
        """Open the HTTP port, and return its URL; raises SettingError and LifecycleError."""
        if self._port is not None:
            raise LifecycleError("the HTTP port is open already; await hub.evbus.http.stop() first")
        for library in ("h11", "prometheus_client"):
            if find_spec(library) is None:
                raise SettingError(
                    f"the HTTP port needs {library}, which is not installed: pip install 'evbus-like[http]'"
                )
        from evbus_like.monitor.server import Port  # it imports h11

        self._port = Port(access, self.status, self.interface)  # before the first await: a second start is refused
        try:
            url = await self._port.start()
        except BaseException:
            self._port = None
            raise
        self._delay.start()
        return url

    async def open_socket(self) -> None:
        """Open the socket that `evbus status`, or the supervisor, reads; if it cannot be, the log says why."""
        try:
            opened = LocalSocket(sockets() / folder.name_of(os.getpid(), THIS is not None), self.status)
            await opened.start()
        except (OSError, SettingError) as error:
            if THIS is None:
                log.info("`evbus status` does not find this process: %s", error)
            else:
                log.warning(
                    "the supervisor cannot ask this worker for its numbers: %s; XDG_STATE_HOME names another place",
                    error,
                )
            return
        self._socket = opened
        self._delay.start()

    def export(self) -> None:
        """Give the numbers to the OpenTelemetry SDK of the application, until `close`."""
        self._reader = self._exported()
        if self._reader is not None:
            self._delay.start()

    @surviving(None)
    def _exported(self) -> ProcessReader | None:
        from evbus_like.monitor.instruments import ProcessReader  # it imports OpenTelemetry

        return ProcessReader(self.process)

    async def close_port(self) -> None:
        """Close the HTTP port, if it is open."""
        port, self._port = self._port, None
        if self._socket is None and self._reader is None:
            self._delay.stop()
        if port is not None:
            await port.close()

    async def close(self) -> None:
        """Close what is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        local, self._socket = self._socket, None
        await self.close_port()
        if local is not None:
            await local.close()


def _clean(data: Any) -> Any:
    """Return a copy without the passwords of URLs, which the words of a client library may hold."""
    if isinstance(data, dict):
        return {name: CLEANED.get(name, _clean)(each) for name, each in data.items()}
    return data


def _clean_names(counts: dict[str, int]) -> dict[str, int]:
    return {redact(name): count for name, count in counts.items()}


CLEANED: dict[str, Callable[[Any], Any]] = {"trouble": redact, "dead_reasons": _clean_names}


def sockets() -> Path:
    """Return the folder of the sockets of this user's processes; raises SettingError."""
    return outbox_place.folder() / "running"


def of(hub: Hub) -> Monitor:
    """Return the monitor of a hub."""
    found: Any = hub.evbus.RUNTIME.monitor
    if found is None:
        found = hub.evbus.RUNTIME.monitor = Monitor(hub)
    return found  # type: ignore[no-any-return]


def access(hub: Hub, address: str | None, token: str | None, open_to_all: bool | None) -> Access:
    """Return the address and who may read it, by the arguments, else by the settings; raises SettingError."""
    wanted = address or settings.config(hub, "http")
    if not wanted:
        raise SettingError('name the HTTP port: hub.evbus.http.start("9464"), --http 9464 or EVBUS_HTTP')
    try:
        parsed = parse(str(wanted))
    except SettingError as error:
        where = "" if address else f" ({settings.origin(hub, 'http')})"
        raise SettingError(f"{error}{where}") from None
    found = Access(parsed, token or settings.config(hub, "http_token"))
    found.check(bool(settings.config(hub, "http_open", False)) if open_to_all is None else open_to_all)
    return found
