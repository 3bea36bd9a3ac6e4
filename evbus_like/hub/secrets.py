"""Find the secrets of a profile, and remove them from every text and error that leaves the bus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from evbus_like.engine import errors
from evbus_like.engine.failure import chain, classify

HIDDEN = "***"
SECRET_NAME = re.compile(r"pass$|passw|passphrase|pwd|secret|token|api_?key|credential|private", re.IGNORECASE)
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)([^/\s@:]*)(:[^\s]*)?@", re.IGNORECASE)
NONE: frozenset[str] = frozenset()


def find(data: Any) -> frozenset[str]:
    """Return the secret strings of a profile: values of keys with a secret name, and passwords in URLs."""
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
    """Return the text without the secrets, and without the password of any URL."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return USERINFO.sub(lambda match: f"{match[1]}{match[2]}{':' + HIDDEN if match[3] else ''}@", text)


def leaks(error: BaseException | None, secrets: frozenset[str]) -> bool:
    """Return whether an exception, or one in its chain, has a secret in its text or arguments."""
    texts = (f"{cause} {cause.args!r}" for cause in chain(error))
    return any(redact(text, secrets) != text for text in texts)


class RedactedError(Exception):
    """Replaces an exception of a client library whose text held a secret."""


def clean(error: Exception, secrets: frozenset[str], otherwise: type[Exception] = RedactedError) -> Exception:
    """Return the exception, or one of the same kind if it would show a secret; `otherwise` is for an unknown kind.

    Raise the result outside of the `except` block, or the exception with the secret becomes its context.
    """
    if not leaks(error, secrets):
        return error
    text = redact(str(error), secrets)
    kind = type(classify(error) or error)
    public = next((each for each in kind.__mro__ if each.__module__ == errors.__name__), None)
    if isinstance(error, errors.BatchRejected):
        return errors.BatchRejected(text, error.certain)
    if public is not None and issubclass(public, errors.DeliveryError):
        return public(text)
    return otherwise(f"{type(error).__name__}: {text}")
