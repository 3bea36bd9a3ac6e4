"""Secrets: found in a profile, and kept out of every text that leaves the bus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from evbus_like.engine.failure import chain

HIDDEN = "***"
SECRET_NAME = re.compile(r"pass$|passw|passphrase|pwd|secret|token|api_?key|credential|private", re.IGNORECASE)
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)([^/\s@:]*)(:[^\s]*)?@", re.IGNORECASE)


NONE: frozenset[str] = frozenset()


def find(data: Any) -> frozenset[str]:
    """Collect the secret strings of a profile: by the names of their keys, and the passwords in URLs."""
    found = {text for text in _walk(data, False) if len(text) > 2}
    # as they look in a repr, in JSON, in a URL
    escaped = {form for text in found for form in (repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe=""))}
    return frozenset(found | escaped) if found else NONE


def _walk(data: Any, secret: bool) -> Iterator[str]:
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _walk(value, secret or bool(SECRET_NAME.search(str(name))))
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _walk(value, secret)
    elif isinstance(data, str):
        if secret:
            yield data
        for match in USERINFO.finditer(data):
            password = (match[3] or "")[1:]
            yield from {password, unquote(password)}
    elif secret and isinstance(data, bytes):
        yield data.decode("utf-8", "replace")
    elif secret and isinstance(data, int) and not isinstance(data, bool):
        yield str(data)


def redact(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """Give the text without the secrets, and without the password of any URL."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return USERINFO.sub(lambda match: f"{match[1]}{match[2]}{':' + HIDDEN if match[3] else ''}@", text)


def leaks(error: BaseException | None, secrets: frozenset[str]) -> bool:
    """Whether an exception, or one that led to it, holds a secret in its text or arguments."""
    texts = (f"{cause} {cause.args!r}" for cause in chain(error))
    return any(redact(text, secrets) != text for text in texts)
