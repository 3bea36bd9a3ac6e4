"""The `evbus` command."""

import sys
from typing import Any

import pop.hub

from evbus_like.cli import application, main, output


def start() -> None:
    """Run the command and exit with its code."""
    output.begin()
    application.look_here()
    sys.argv[0] = "evbus"
    hub = pop.hub.Hub()

    def add() -> int:
        hub.pop.sub.add(dyne_name="evbus")
        return 0

    try:
        add()
    except Exception as error:
        failed = error  # pop's own frames would hold the traceback

        def raise_it() -> int:
            raise failed

        main.finish(raise_it)
    hub.evbus.init.cli()


def run(hub: Any) -> None:
    """Run the command on a hub that has the bus, and exit with its code."""
    main.run(hub)
