"""Read a credentials file through acct and check it; errors say what to do and show no secret."""

from __future__ import annotations

import json
import logging
import os
import stat
import warnings
from collections.abc import Mapping
from typing import Any

from dict_tools.update import update

from evbus_like.engine import given_files
from evbus_like.engine.errors import CredentialsError
from evbus_like.engine.failure import chain
from evbus_like.engine.suggest import did_you_mean
from evbus_like.engine.yaml_text import YamlError, load_yaml
from evbus_like.hub import plugins
from evbus_like.hub.profiles import plan, settings
from evbus_like.hub.runtime import Hub
from evbus_like.hub.secrets import Hidden

log = logging.getLogger("evbus_like.credentials")

RENDERERS = ("yaml", "json")  # those that run nothing
MAX_BYTES = 4 * 1024 * 1024
BACKENDS = ("acct-backends", "backend_key")
NOT_PROVIDERS = (*BACKENDS, "default")  # acct's own keys, and the settings of its files
FERNET = b"gAAAAA"  # how every Fernet token begins: version 0x80 and a timestamp (https://github.com/fernet/spec)


async def read(
    hub: Hub,
    path: str,
    key: str | None,
    crypto_plugin: str = "fernet",
    render_pipe: str = "yaml",
    allowed_backend_profiles: list[str] | None = None,
    hard_fail: bool = False,
) -> Mapping[str, Any]:
    """Read a credentials file, encrypted if a key is given; raises CredentialsError.

    The other arguments are those of `hub.acct.init.profiles`, which this replaces: that function uses any renderer
    that the file's first line names, and some of them run code.
    """
    content = _content(hub, path)
    if key is None and content.startswith(FERNET):
        raise CredentialsError(f"credentials file {path} is encrypted and no key was given: --acct-key or ACCT_KEY")
    _ignore_deprecations()
    try:
        if key:
            data = await hub.crypto.init.decrypt(plugin=crypto_plugin, data=content, key=key)
        else:
            data = await _rendered(hub, path, content, render_pipe)
        if isinstance(data, Mapping):
            data = Hidden(data)
            if plugins.is_imported(hub.acct) or not data.keys().isdisjoint(BACKENDS):
                unlocked = await hub.acct.backend.init.unlock(
                    profiles=data, allowed_backend_profiles=allowed_backend_profiles, hard_fail=hard_fail
                )
                update(data, unlocked)
    except CredentialsError:
        raise
    except YamlError as error:
        raise CredentialsError(str(error).replace("is not valid YAML at", "is not valid YAML, malformed at")) from None
    except Exception as error:
        raise CredentialsError(f"credentials file {path} {_reason(error, key)}") from None  # the cause quotes the file
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise CredentialsError(
            f"credentials file {path} is a {type(data).__name__}, not a mapping of providers to profiles;"
            " see the reference on profiles" + ("" if key else "; if it is encrypted, give the key: ACCT_KEY")
        )
    if not data:
        log.warning("credentials file %s has no profiles, so events go nowhere", path)
    return data


def _content(hub: Hub, path: str) -> bytes:
    """Return the content of the file; what a pipe held is kept, because it can be read once."""
    kept, pipe = hub.evbus.RUNTIME.pipes, _pipe(path)
    if pipe in kept:
        return kept[pipe]
    try:
        content, status = given_files.read(path, MAX_BYTES)
    except given_files.UnreadableFile as error:
        named = " (--acct-file or ACCT_FILE names it)" if "not exist" in str(error) else ""
        raise CredentialsError(f"credentials file {path} {error}{named}") from None
    if not content.strip():
        raise CredentialsError(
            f"credentials file {path} is empty; it must map providers to profiles, such as internal: {{default: }}"
        )
    if not stat.S_ISREG(status.st_mode):
        kept[pipe] = content
    elif not content.startswith(FERNET):
        _warn_of_mode(path, status)
    return content


def _pipe(path: str) -> tuple[int, int]:
    """Return what tells the file from others, as long as it is open."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _warn_of_mode(path: str, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    given_to_group = status.st_uid == 0 and os.geteuid() and mode & 0o077 == 0o040  # as Kubernetes mounts a secret
    if mode & 0o077 and not given_to_group:
        log.warning(
            "CREDENTIALS FILE %s CAN BE READ BY OTHERS (mode %o); make it yours alone: chmod 600 %s", path, mode, path
        )
    if status.st_uid not in (0, os.geteuid()):
        log.warning(
            "CREDENTIALS FILE %s BELONGS TO ANOTHER USER (uid %d), who can change it: chown %d %s",
            path,
            status.st_uid,
            os.geteuid(),
            path,
        )


async def _rendered(hub: Hub, path: str, content: bytes, pipe: str) -> Any:
    """Return the data of a plain file, which may name harmless renderers in its first line: `#!yaml`."""
    first, _, rest = content.partition(b"\n")
    if first.startswith(b"#!"):
        pipe = first[2:].decode("ascii", "replace").strip()
    wanted = [name.strip() for name in pipe.split("|")]
    allowed = {*RENDERERS, *str(settings.config(hub, "acct_renderers") or "").replace(",", " ").split()}
    if first.startswith(b"#!") and (refused := [name for name in wanted if name not in allowed]):
        names = ", ".join(name for name in refused if name.isidentifier()) or "an unknown one"
        raise CredentialsError(
            f"credentials file {path} asks for the renderer {names} in its first line, and renderers can run code as"
            f" this user. Allowed: {', '.join(sorted(allowed))}. If you trust the file, set"
            f" EVBUS_ACCT_RENDERERS={names}, or acct_renderers in a configuration"
        )
    if wanted == ["yaml"]:
        return load_yaml(content, f"credentials file {path}", octal=False)
    if wanted == ["json"]:
        return json.loads(rest if first.startswith(b"#!") else content)
    return await hub.rend.init.parse_bytes({"fn": path, "ln": 0, "bytes": content.replace(b"\r", b"")}, pipe=pipe)


def _ignore_deprecations() -> None:
    """Keep deprecation warnings of the libraries that read a file from being raised, as `python -W error` would.

    On Python 3.13 dict_toolbox uses typing.ByteString. The filter stays: one that ends with a block of code is not safe
    where other tasks run meanwhile.
    """
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(dict_tools|acct|rend)\b")


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


async def contexts(hub: Hub, data: Mapping[str, Any]) -> Hidden:
    """Return the providers that an ingress or egress plugin handles, as lists, processed by acct's plugins."""
    if not isinstance(data, Mapping):
        raise CredentialsError(f"credentials must be a mapping of providers to profiles, not a {type(data).__name__}")
    takers: set[str] = {plan.DATABASES}
    for sub in ("ingress", "egress"):
        takers |= {*plan.takers(hub, sub), *hub.evbus.RUNTIME.broken.get(sub, {})}
    result = Hidden()
    for provider, value in data.items():
        if provider in NOT_PROVIDERS:
            continue
        for name in (provider, *_names(value)):
            if problem := plan.name_problem(name):
                raise CredentialsError(problem)
        if provider not in takers and str(provider).split(".")[0] not in takers:
            _unknown(hub, str(provider), takers)
            continue
        groups = value if isinstance(value, (list, tuple)) else [value]
        for group in groups:
            if group is not None and not isinstance(group, Mapping):
                raise CredentialsError(
                    f"provider {provider!r} must map profile names to their options, not hold a {type(group).__name__}"
                )
        named = [Hidden({name: info}) for group in groups for name, info in (group or {}).items()]
        result[provider] = [await _processed(hub, provider, profile) for profile in named]
    return result


def _names(value: Any) -> list[Any]:
    """Return the names of a provider's progiven_files."""
    groups = value if isinstance(value, (list, tuple)) else [value]
    return [name for group in groups if isinstance(group, Mapping) for name in group]


async def _processed(hub: Hub, provider: str, profile: Hidden) -> Hidden:
    """Process one profile with the acct plugins of its provider, if the application has any."""
    if not plugins.has_subdir(hub.acct, provider):
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
    if plugins.has_subdir(hub.acct, provider) or provider in hub._subs:
        log.debug("provider %r belongs to another part of the application", provider)
    else:
        log.warning("no ingress plugin takes the provider %r, so its profiles get no events; %s", provider, hint)
