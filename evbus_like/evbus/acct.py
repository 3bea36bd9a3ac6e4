"""hub.evbus.acct: from credentials to the contexts that a start needs."""

from collections.abc import Mapping
from typing import Any

from evbus_like.hub import runtime
from evbus_like.hub.profiles import credentials


async def profiles(
    hub: runtime.Hub,
    acct_file: str | None = None,
    acct_key: str | None = None,
    acct_data: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Read the profiles of ingress and egress plugins, and return the contexts that `hub.evbus.init.start` takes.

    `acct_file` is plain YAML or, with `acct_key`, a file that the acct command encrypted. `acct_data` is the same data
    as a mapping; if it is given, the file is not read. The contexts are {provider: [{profile: data}, ...]}; printing
    them shows no data. Other keywords are passed to `hub.acct.init.profiles` (crypto_plugin, render_pipe, ...).
    `hub.evbus.init.reload` reads the latest file again. Raises CredentialsError.
    """
    if acct_data is None and acct_file:
        acct_data = await credentials.read(hub, acct_file, acct_key, **kwargs)
        hub.evbus.RUNTIME.read_contexts = lambda: profiles(hub, acct_file, acct_key, **kwargs)
    contexts: dict[str, Any] = await credentials.contexts(hub, acct_data or {})
    return contexts
