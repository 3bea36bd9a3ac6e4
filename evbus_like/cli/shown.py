"""How times, sizes, bodies and untrusted texts are shown."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from datetime import UTC, datetime
from typing import Any

from evbus_like.engine import suggest

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')


def seconds(text: str) -> float:
    """Parse a duration such as 90s, 15m, 2h, 3d or 1w; raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text, re.ASCII)
    if match is None or math.isinf(float(match[1])):
        raise ValueError(f"{suggest.shown(text)} is not a duration; write 90s, 15m, 2h, 3d or 1w")
    return float(match[1]) * UNITS[match[2]]


def age(moment: float) -> str:
    """Return how long ago a moment was: "5 min"."""
    return _span(max(0.0, time.time() - moment))


def _span(passed: float) -> str:
    for name, unit, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 2 * 86400)):
        if passed < until:
            return f"{passed // unit:.0f} {name}"
    return f"{passed // 86400:.0f} d"


def clock(when: float) -> str:
    """Return the time of day of a moment; dashes if it is unknown, or none that a calendar has."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(when)) if when else "--:--:--"
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def moment(when: float) -> str:
    """Return a moment as a date, with its age, or with how long it is until then."""
    try:
        date = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # a clock that was wrong
        date = f"{when} s since 1970"
    left = when - time.time()
    return f"{date}, in {_span(left)}" if left > 0 else f"{date}, {age(when)} ago"


def size(count: int) -> str:
    """Return a number of bytes for people: "1.5 MiB"."""
    if count < 1024:
        return f"{count} B"
    power = min(3, int(math.log2(count) // 10))
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def many(count: int, what: str) -> str:
    """Return a number of things: "1 dead letter", "2 dead letters"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def visible(text: str, kept: str = "") -> str:
    """Return a text whose control characters are escaped, so that it cannot control a terminal."""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def plain(value: Any) -> Any:
    """Return a header or a key in a form that JSON has."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def short(body: Any, most: int = 500) -> str:
    """Return a decoded body in one line, cut after `most` characters."""
    try:
        text = json.dumps(body, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are not text, bodies that contain themselves
        text = repr(body)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def encoded(body: bytes) -> tuple[str, str]:
    """Return a body as text, and its encoding: "utf-8" or "base64"."""
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"


def readable(body: bytes) -> tuple[str, str]:
    """Return a body for people, and its form: JSON, text or base64."""
    text, how = encoded(body)
    if how == "utf-8" and _is_json(text):
        return visible(indented(text), "\n"), "JSON"
    if how == "utf-8" and all(c.isprintable() or c in "\t\r\n" for c in text):
        return text.replace("\r", "\\r"), "text"
    return base64.b64encode(body).decode(), "base64"


def indented(text: str) -> str:
    """Indent valid JSON token by token: numbers, repeated names and their order stay as they were sent."""
    tokens = TOKEN.findall(text)
    parts: list[str] = []
    depth = 0
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if token in "]}" and before not in ("[", "{"):
            depth -= 1
            parts.append("\n" + "  " * depth)
        parts.append(f"{token} " if token == ":" else token)
        if token == "," or (token in ("[", "{") and after not in ("]", "}")):
            depth += token != ","
            parts.append("\n" + "  " * depth)
    return "".join(parts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
