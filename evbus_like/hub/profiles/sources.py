"""Find the sources of a profile's name, for handlers and services."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from evbus_like.engine import options
from evbus_like.engine.errors import EvbusError, HandlerError, ProfileError
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub import decoding, secrets
from evbus_like.hub.profiles import contract
from evbus_like.hub.profiles.plan import pairs, takers
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.runtime import Hub
from evbus_like.hub.secrets import redact


class Sources:
    """Finds the sources of a profile's name; a source is made when it is first needed."""

    def __init__(self, hub: Hub, contexts: Mapping[str, Any] | None) -> None:
        self._hub = hub
        self._takers = takers(hub, "egress")
        self._profiles = [
            (provider, profile, data)
            for provider, profile, data in pairs(contexts)
            if provider in self._takers or provider in hub.evbus.RUNTIME.broken.get("egress", {})
        ]
        self._made: dict[tuple[str, str], PluginSource] = {}

    def named(self, name: str) -> list[PluginSource]:
        """Return the sources of a profile: of every provider for "orders", of one for "amqp:orders".

        Raises HandlerError if there is none, ProfileError if one cannot be used.
        """
        found = [pair for pair in self._profiles if name in (pair[1], f"{pair[0]}:{pair[1]}")]
        if not found:
            known = [f"{provider}:{profile}" for provider, profile, _ in self._profiles]
            raise HandlerError(f"unknown source profile {name!r}; {did_you_mean(name, known)}")
        return [self._source(*pair) for pair in found]

    def at(self, name: str) -> PluginSource | None:
        """Return the source of one provider's profile, `amqp:orders`; None if there is none. Raises ProfileError."""
        found = [pair for pair in self._profiles if name == f"{pair[0]}:{pair[1]}"]
        return self._source(*found[0]) if found else None

    def another(self, name: str) -> PluginSource:
        """Return the source of one provider's profile, for other users than those of the last one."""
        provider, _, profile = name.partition(":")
        if (made := self._made.pop((provider, profile), None)) is None:
            (made,) = self.named(name)
            del self._made[provider, profile]
        return made

    def problems(self) -> dict[str, str]:
        """Return the problem of every profile, or an empty string; connects to nothing."""
        found = {}
        for provider, profile, data in self._profiles:
            try:
                self._source(provider, profile, data)
                found[f"{provider}:{profile}"] = ""
            except EvbusError as error:
                found[f"{provider}:{profile}"] = redact(str(error), secrets.find(data))
        return found

    def _source(self, provider: str, profile: str, data: Any) -> PluginSource:
        key = (provider, profile)
        if key not in self._made:
            try:
                self._made[key] = self._make(provider, profile, data)
            except EvbusError as error:
                raise ProfileError(f"profile {provider}:{profile}: {error}") from error
        return self._made[key]

    def _make(self, provider: str, profile: str, data: Any) -> PluginSource:
        if provider not in self._takers:
            reason = self._hub.evbus.RUNTIME.broken["egress"][provider]
            raise ProfileError(f"the egress plugin {provider!r} could not be loaded: {reason}")
        plugin = self._takers[provider][0]
        contract.check_source(plugin)
        for library in getattr(plugin, "REQUIRES", ()):
            if importlib.util.find_spec(library) is None:
                raise ProfileError(f"it needs the library {library}, which is not installed: pip install {library}")
        if data is not None and not isinstance(data, Mapping):
            raise ProfileError(f"its data must be a mapping of options, not {type(data).__name__}")
        wrong = list(options.problems(data or {}, self._specs(provider)))
        wrong += decoding.profile_problems(self._hub, data or {})
        if wrong:
            raise ProfileError("; ".join(wrong))
        source = PluginSource(self._hub, plugin, provider, profile, data)
        if "validate" in plugin._funcs:
            contract.called(plugin, "validate", source.ctx)
        return source

    def _specs(self, provider: str) -> dict[str, Any]:
        both = (*takers(self._hub).get(provider, ()), *self._takers[provider])
        return {**options.of_sources(both), **options.COMMON}
