"""`evbus rpc`: call a method of a service over a broker."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from evbus_like.cli import common, console, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine import suggest
from evbus_like.engine.errors import (
    HandlerError,
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    RpcError,
    RpcTimeout,
    UnknownService,
)
from evbus_like.engine.values import exact_float
from evbus_like.hub.application import rpc_proxy
from evbus_like.hub.profiles.settings import config
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.secrets import redact

HINTS = {  # what to do about an error whose message does not say it
    UnknownService: "start it (`evbus run` with a credentials file of the same broker); `evbus services` lists what an"
    " application serves",
    MethodNotFound: "`evbus services`, in the folder of the application, lists the methods",
    IncorrectSignature: "give arguments by name: NAME=VALUE",
    RpcTimeout: "wait longer with --timeout SECONDS, or look at the service's log; the method may have run, or may"
    " still run",
}
NOT_SENT = "no request was sent; check the broker: `evbus check` with the same credentials file"


async def run(hub: Any) -> int:
    """Call the method and show its result; return 1 if the call raised."""
    settings = hub.OPT.evbus_like
    service, method = names(settings.method)
    kwargs = arguments(settings.arguments)
    timeout = float(config(hub, "rpc_timeout"))
    given = await _outside(hub, settings.rpc_profile)
    async with common.running(hub, {}) as stopped:  # opens only the profile of the call
        hub.evbus.RUNTIME.contexts = given
        _way(hub, service, settings.rpc_profile)
        began = time.monotonic()
        ended = await common.unless_stopped(stopped, _ended(hub, service, method, kwargs, timeout))
        seconds = time.monotonic() - began
    if ended is None:
        print("evbus rpc: ended by a signal before the answer; the method may have run", file=sys.stderr)
        return 128 + int(getattr(stopped, "number", 0))
    result, error = ended
    if settings.json:
        facts = {"service": service, "method": method, "ok": error is None, "seconds": round(seconds, 6)}
        console.document({**facts, "result": result, "error": error and described(error)})
    elif error is None:
        _print(result)
    if error is not None:
        _say(error)
    return 0 if error is None else 1


async def _ended(
    hub: Any, service: str, method: str, kwargs: dict[str, Any], timeout: float
) -> tuple[Any, RpcError | None]:
    """Call, and return the result and the error."""
    try:
        return await hub.evbus.rpc.call(service, method, (), kwargs, timeout), None
    except RpcError as error:
        return None, error


def names(text: str) -> tuple[str, str]:
    """Split SERVICE.METHOD at the last dot; raises UsageError."""
    service, dot, method = text.rpartition(".")
    if not (dot and service and method):
        raise UsageError(
            f"{suggest.shown(text)}: write SERVICE.METHOD, then its arguments as NAME=VALUE: world.hello param=1"
        )
    return service, method


def arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Parse NAME=VALUE: a value is JSON if it parses, otherwise text; raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(
                f"argument {suggest.shown(text)}: write NAME=VALUE; a value is JSON or else text:"
                " id=7 name=ann tags='[1]'"
            )
        if name in found:
            raise UsageError(f"the argument {suggest.shown(name)} is given twice")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json, parse_float=exact_float)
    except (ValueError, RecursionError):
        return text


def _no_json(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON


async def _outside(hub: Any, profile: str | None) -> dict[str, Any]:
    """Return the contexts of brokers; raises CredentialsError and UsageError."""
    given = dict(await common.contexts(hub)) if hub.OPT.evbus_like.acct_file else {"internal": None}
    outside = {provider: profiles for provider, profiles in given.items() if provider != "internal"}
    if not outside or str(profile).startswith("internal:"):
        raise UsageError(
            "a service in memory can only be called by its own process: await hub.rpc.<service>.<method>(...). From the"
            " shell, call over a broker: --acct-file FILE with a profile of amqp, also for `evbus run`"
        )
    return outside


def _way(hub: Any, service: str, profile: str | None) -> None:
    """Check that a profile carries calls to the service; raises HandlerError and ProfileError."""
    calls = rpc_proxy.calls(hub)
    if profile:
        calls.register(service, profile=profile)
    wanted = calls.route(service).profile or "default"
    try:
        found = [each.name for each in Sources(hub, hub.evbus.RUNTIME.contexts).named(wanted) if each.sends]
        if len(found) > 1:
            raise UsageError(f"several providers have a profile {wanted!r}; say which: --profile {found[0]}")
        calls.way(service)
    except HandlerError as error:
        raise HandlerError(f"{error}. Name the profile that carries the call: --profile NAME") from None


def described(error: RpcError) -> dict[str, Any]:
    """Return an error as plain data: its class here, and what the method raised there."""
    facts: dict[str, Any] = {"class": type(error).__name__, "message": redact(str(error))}
    if isinstance(error, RemoteError):
        facts["raised"] = {
            "class": error.exc_type,
            "path": error.exc_path,
            "message": error.value,
            "code": error.code,
            "args": error.exc_args,
        }
    return facts


def _print(result: Any) -> None:
    if isinstance(result, str):
        print(shown.visible(result, "\n\t"))
    else:
        console.document(result)


def _say(error: RpcError) -> None:
    code = f" (code {error.code})" if isinstance(error, RemoteError) and error.code is not None else ""
    text = shown.visible(redact(str(error)), "\n")
    print(f"evbus rpc: {type(error).__name__}: {text}{code}", file=sys.stderr)
    hint = NOT_SENT if "was not called" in text else HINTS.get(type(error))
    if hint is not None:
        print(f"evbus rpc: {hint}", file=sys.stderr)
