"""The `evbus` command."""

import pop.hub


def start() -> None:
    """Run the command and exit with its code."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    hub.evbus.init.cli()
