"""Find the secrets of a profile, and remove them from every text and error that leaves the bus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import quote, unquote

from dict_tools.data import SafeNamespaceDict

from evbus_like.engine.failure import chain, classify
from evbus_like.engine.foreign import of_kind, tamed, text_of

HIDDEN = "***"
SECRET_NAME = re.compile(r"pass$|passw|passphrase|pwd|secret|token|api_?key|credential|private", re.IGNORECASE)
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)([^/\s@:]*)(:[^\s]*)?@", re.IGNORECASE)
NONE: frozenset[str] = frozenset()


class Hidden(SafeNamespaceDict):  # type: ignore[misc]
    """A mapping that prints without its data, as do the mappings in it; with dict-toolbox 4 those would show theirs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        dict.__init__(self)
        self.update(*args, **kwargs)

    def __setitem__(self, name: Any, value: Any) -> None:
        dict.__setitem__(self, name, Hidden(value) if isinstance(value, Mapping) else value)

    def __copy__(self) -> Hidden:
        return Hidden(self)

    def __deepcopy__(self, memo: Any = None) -> Hidden:
        return Hidden(deepcopy(dict(self), memo))

    def pop(self, *args: Any) -> Any:
        """Remove a name, and return its value."""
        return dict.pop(self, *args)


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
    texts = (f"{text_of(cause)} {_arguments(cause)}" for cause in chain(error))
    return any(redact(text, secrets) != text for text in texts)


def _arguments(error: BaseException) -> str:
    try:
        return repr(error.args)
    except Exception:
        return ""


class RedactedError(Exception):
    """Replaces an exception of a client library whose text held a secret."""


def clean(error: BaseException, secrets: frozenset[str], otherwise: type[Exception] = RedactedError) -> Exception:
    """Return what a plugin raised, or an exception of the same kind if it would show a secret, or is no Exception.

    `otherwise` is for an unknown kind. Raise the result outside of the `except` block, or the exception with the secret
    becomes its context.
    """
    safe = tamed(error)
    if not leaks(error, secrets):
        return safe
    text = redact(str(safe), secrets)
    return of_kind(classify(safe) or safe, text, otherwise(f"{type(safe).__name__}: {text}"))
