"""`evbus services`: list the services of the applications."""

from __future__ import annotations

import inspect
from typing import Any

from evbus_like.cli import application, console, shown
from evbus_like.engine.rpc.service import Method
from evbus_like.hub.application import rpc_proxy


async def run(hub: Any) -> int:
    """List the methods of the services; raises HandlerError that names the invalid ones."""
    application.load(hub)
    found = application.services_of(hub)
    rpc_proxy.calls(hub).begin()  # reads the services file
    rows = [_described(hub, plugin, each) for plugin, methods in found.values() for each in methods.values()]
    rows.sort(key=lambda row: (row["service"], row["method"]))
    if hub.OPT.evbus_like.json:
        console.document(rows)
    else:
        title = f"{shown.many(len(found), 'service')}, {shown.many(len(rows), 'method')}"
        cells = [[row["call"], row["profile"], row["doc"].partition("\n")[0], row["function"]] for row in rows]
        console.table(title, ("call", "profile", "what it does", "function"), cells)
    return 0


def _described(hub: Any, plugin: Any, method: Method) -> dict[str, Any]:
    own = getattr(plugin, "PROFILE", "") or rpc_proxy.calls(hub).route(method.service).profile
    function = plugin._funcs[method.ref.rpartition(".")[2]]
    return {
        "service": method.service,
        "method": method.name,
        "call": str(method),
        "profile": str(own or "default"),
        "timeout": method.timeout,
        "doc": inspect.getdoc(function.func) or "",
        "function": f"hub.{method.ref}",
    }
