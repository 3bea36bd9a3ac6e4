"""The `evbus` command."""

import sys
from typing import Any

import pop.hub

from evbus_like.cli import application, main
from evbus_like.engine.errors import LifecycleError


def start() -> None:
    """Run the command and exit with its code."""
    application.look_here(sys.argv[1:])
    hub = pop.hub.Hub()
    try:
        hub.pop.sub.add(dyne_name="evbus")
    except LifecycleError as error:
        print(f"evbus: {error}", file=sys.stderr)
        sys.exit(2)
    hub.evbus.init.cli()


def run(hub: Any) -> None:
    """Run the command on a hub that has the bus, and exit with its code."""
    main.run(hub)
