"""Read a credentials file through acct and check it; errors say what to do and show no secret."""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Mapping
from typing import Any

from dict_tools.data import SafeNamespaceDict

from evbus_like.engine.errors import CredentialsError
from evbus_like.engine.failure import chain
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub.profiles import plan
from evbus_like.hub.runtime import Hub

log = logging.getLogger("evbus_like.credentials")

MAX_BYTES = 4 * 1024 * 1024
NOT_PROVIDERS = ("acct-backends", "backend_key", "default")  # acct's own keys, and the settings of its files
FERNET = b"gAAAAA"  # how every Fernet token begins: version 0x80 and a timestamp (https://github.com/fernet/spec)


async def read(hub: Hub, path: str, key: str | None, **kwargs: Any) -> Mapping[str, Any]:
    """Read a credentials file, encrypted if a key is given; raises CredentialsError."""
    start = _look_at(path)
    if key is None and start.startswith(FERNET):
        raise CredentialsError(f"credentials file {path} is encrypted and no key was given: --acct-key or ACCT_KEY")
    _ignore_deprecations()
    try:
        data = await hub.acct.init.profiles(path, key, **kwargs)
    except Exception as error:
        raise CredentialsError(f"credentials file {path} {_reason(error, key)}") from None  # the cause quotes the file
    if not isinstance(data, Mapping):
        raise CredentialsError(
            f"credentials file {path} is a {type(data).__name__}, not a mapping of providers to profiles;"
            " see the reference on profiles" + ("" if key else "; if it is encrypted, give the key: ACCT_KEY")
        )
    if not data:
        log.warning("credentials file %s has no profiles, so events go nowhere", path)
    return data


def _ignore_deprecations() -> None:
    """Keep deprecation warnings of the libraries that read a file from being raised, as `python -W error` would.

    On Python 3.13 dict_toolbox uses typing.ByteString. The filter stays: one that ends with a block of code is not safe
    where other tasks run meanwhile.
    """
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(dict_tools|acct|rend)\b")


def _look_at(path: str) -> bytes:
    """Check what needs no rendering, and return the file's first bytes."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            start = file.read(16)
    except FileNotFoundError:
        raise CredentialsError(f"credentials file {path} does not exist (--acct-file or ACCT_FILE names it)") from None
    except IsADirectoryError:
        raise CredentialsError(f"credentials file {path} is a folder, not a file") from None
    except OSError as error:
        raise CredentialsError(f"credentials file {path} cannot be read: {error.strerror}") from None
    if status.st_size > MAX_BYTES:
        raise CredentialsError(f"credentials file {path} has {status.st_size} bytes; the limit is {MAX_BYTES}")
    if not start.strip() and status.st_size < 16:
        raise CredentialsError(
            f"credentials file {path} is empty; it must map providers to profiles, such as internal: {{default: }}"
        )
    if stat.S_IMODE(status.st_mode) & 0o077 and not start.startswith(FERNET):
        log.warning(
            "CREDENTIALS FILE %s CAN BE READ BY OTHERS (mode %o); make it yours alone: chmod 600 %s",
            path,
            stat.S_IMODE(status.st_mode),
            path,
        )
    return start


def _reason(error: Exception, key: str | None) -> str:
    """Return what is wrong with a file, without quoting it."""
    for cause in chain(error):
        mark = getattr(cause, "problem_mark", None)
        if mark is not None:
            # the message of YAML may quote the line
            return f"is malformed at line {mark.line + 1}, column {mark.column + 1}: it is not valid YAML"
    kind = type(error).__name__
    if isinstance(error, AttributeError):
        return "is not a mapping of providers to profiles, such as internal: {default: }"
    if kind in ("InvalidToken", "InvalidTag"):
        return "cannot be decrypted: the key is wrong, or the file is not encrypted (ACCT_KEY)"
    if key is not None and isinstance(error, ValueError):
        return "cannot be decrypted: the key is not valid; it is the line that `acct encrypt` printed (ACCT_KEY)"
    return f"cannot be read as credentials ({kind}); it must be YAML" + (
        "" if key else "; if it is encrypted, give the key: ACCT_KEY"
    )


async def contexts(hub: Hub, data: Mapping[str, Any]) -> SafeNamespaceDict:
    """Return the providers that an ingress or egress plugin handles, as lists, processed by acct's plugins."""
    if not isinstance(data, Mapping):
        raise CredentialsError(f"credentials must be a mapping of providers to profiles, not a {type(data).__name__}")
    takers: set[str] = set()
    for sub in ("ingress", "egress"):
        takers |= {*plan.takers(hub, sub), *hub.evbus.RUNTIME.broken.get(sub, {})}
    result = SafeNamespaceDict()
    for provider, value in data.items():
        if provider in NOT_PROVIDERS:
            continue
        if provider not in takers and str(provider).split(".")[0] not in takers:
            _unknown(hub, str(provider), takers)
            continue
        groups = value if isinstance(value, (list, tuple)) else [value]
        for group in groups:
            if group is not None and not isinstance(group, Mapping):
                raise CredentialsError(
                    f"provider {provider!r} must map profile names to their options, not hold a {type(group).__name__}"
                )
        named = [SafeNamespaceDict({str(name): info}) for group in groups for name, info in (group or {}).items()]
        result[provider] = [await _processed(hub, provider, profile) for profile in named]
    return result


async def _processed(hub: Hub, provider: str, profile: SafeNamespaceDict) -> SafeNamespaceDict:
    """Process one profile with the acct plugins of its provider, if the application has any."""
    if provider not in hub.acct._subs:
        return profile
    _ignore_deprecations()
    given = {provider: profile}
    gathered = await hub.acct.init.process([provider], given, hard_fail=True)
    for name, info in (gathered.get(provider) or {}).items():
        given[provider][name] = info
    return given[provider]


def _unknown(hub: Hub, provider: str, takers: set[str]) -> None:
    """Log that no plugin handles a provider, unless another part of the application uses it."""
    hint = did_you_mean(provider, takers)
    if provider in hub.acct._subs or provider in hub._subs:
        log.debug("provider %r belongs to another part of the application", provider)
    else:
        log.warning("no ingress plugin takes the provider %r, so its profiles get no events; %s", provider, hint)
