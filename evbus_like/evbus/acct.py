"""hub.evbus.acct: credentials in, contexts out."""

from evbus_like.hub.profiles import credentials


async def profiles(hub, acct_file=None, acct_key=None, acct_data=None, **kwargs):
    """Read the profiles that ingress plugins take, and give the contexts that `hub.evbus.init.start` wants.

    `acct_file` is plain YAML or, with `acct_key`, a file that the acct command encrypted; `acct_data` is the same data
    as a mapping and goes before the file. The answer is {provider: [{profile: data}, ...]}; printing it shows no data.
    Other keywords go to `hub.acct.init.profiles` (crypto_plugin, render_pipe, ...). `hub.evbus.init.reload` reads the
    latest file again. Raises CredentialsError.
    """
    if acct_data is None and acct_file:
        acct_data = await credentials.read(hub, acct_file, acct_key, **kwargs)
        hub.evbus.RUNTIME.read_contexts = lambda: profiles(hub, acct_file, acct_key, **kwargs)
    return await credentials.contexts(hub, acct_data or {})
