"""`evbus call-handler`: call one handler with one event, in memory."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any

from evbus_like.cli import application, common, console, lines, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine import suggest
from evbus_like.engine.errors import HandlerError, HandlerFailed
from evbus_like.engine.receiving import failure_log
from evbus_like.engine.receiving.disposition import EXPIRED, described, is_unhandled
from evbus_like.engine.values import exact_float
from evbus_like.hub import call_handler, recorder
from evbus_like.hub.application import handlers


async def run(hub: Any) -> int:
    """Call the handler; return 0 if it handled the event, 1 if it failed."""
    outcome = await _called(hub)
    if isinstance(outcome, int):
        common.leave_threads("call-handler", outcome)
        return outcome
    _show(outcome, bool(hub.OPT.evbus_like.json))
    return 0 if outcome.error is None else 1


async def _called(hub: Any) -> call_handler.Outcome | int:
    """Call the handler; return an exit code if a signal came first."""
    application.load(hub)
    settings = hub.OPT.evbus_like
    handlers.load(hub)
    logging.getLogger("evbus_like.handlers").setLevel(logging.CRITICAL)  # the result shows it
    body = await _body(settings)
    headers = dict(_header(each) for each in settings.header)
    async with common.running(hub, recorder.PROFILES) as stopped:
        try:
            handler = call_handler.named(hub, settings.handler_name, settings.routing_key)
        except HandlerError as error:
            raise HandlerError(f"{error}\n{application.places()}") from None
        event = call_handler.event_for(hub, handler, body, headers, settings.routing_key)
        tap = recorder.Recorder(hub)
        try:
            outcome = await common.unless_stopped(stopped, call_handler.call(hub, handler, event, tap))
        finally:
            await tap.close()
    if outcome is None:
        print("evbus call-handler: ended by a signal before the handler was done", file=sys.stderr)
        return 128 + int(getattr(stopped, "number", 0))
    return outcome


async def _body(settings: Any) -> Any:
    """Return the body that the options give, None by default; raises UsageError."""
    given = [name for name in ("body", "file", "body_file") if settings[name] is not None]
    if len(given) > 1:
        raise UsageError("give the body once: --body JSON, --file FILE, or - for standard input")
    if not given:
        return None
    text, where = settings[given[0]], "--body"
    if given[0] != "body":
        path, where = text, "standard input" if text == "-" else text
        try:
            async with common.signals() as stopped:
                text = await lines.content(path, stopped)
            if stopped.is_set():
                raise KeyboardInterrupt
        except OSError as error:
            raise UsageError(f"{where} cannot be read: {error.strerror or error}") from None
    try:
        return json.loads(text, parse_float=exact_float)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not valid JSON: {error}; quote text: --body '\"text\"'") from None


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--header {suggest.shown(text)}: write NAME=VALUE")
    return name, value


def _show(outcome: call_handler.Outcome, as_json: bool) -> None:
    error = outcome.error
    text, trace = None, None
    if error is not None:
        text = failure_log.text_of(error)
        trace = "".join(traceback.format_exception(type(error), error, failure_log.own(error.__traceback__)))
    wanted, is_late = not is_unhandled(outcome.disposition), outcome.disposition is EXPIRED
    left = "expired" if is_late else "not wanted"
    disposition = described(outcome.disposition) if error is not None else "ok" if wanted else left
    rows = [_put(each) for each in outcome.sent]
    if as_json:
        named = {"handler": outcome.handler, "event": outcome.event.routing_key, "ok": error is None}
        console.document({**named, "verdict": disposition, "error": text, "traceback": trace, "put": rows})
        return
    why = "the event has expired" if is_late else "its where= does not want the event"
    did = "handled the event" if wanted else f"was not called: {why}"
    print(f"{outcome.handler} {did if error is None else f'failed: {text}'}")
    if error is not None:
        print(f"with a source behind it: {disposition}")
        if not isinstance(error, HandlerFailed):
            print(trace)
    print(f"{shown.many(len(rows), 'event')} put")
    for put in rows:
        place = f"{put['service']}.{put['routing_key']}" if put["service"] else put["routing_key"]
        print(f"  {shown.visible(place)} profile={put['profile']} {shown.visible(shown.short(put['body']))}")


def _put(sent: recorder.Sent) -> dict[str, Any]:
    headers = {name: shown.plain(value) for name, value in sent.headers.items()}
    named = {"routing_key": sent.routing_key, "service": sent.service, "profile": sent.profile, "id": sent.id}
    return {**named, "headers": headers, "body": sent.body}
