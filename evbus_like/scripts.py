"""The `evbus` command. It imports the rest late, so that Ctrl-C during the imports ends it without a traceback."""

import os
import signal
import sys
from typing import Any, NoReturn

BY_SIGNAL = 128  # and its number: the exit code of a shell for a process that a signal ends


def start() -> None:
    """Run the command and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored if a script runs us with &
        signal.signal(signal.SIGINT, _end)
    if os.getpid() == 1:  # in a container: Linux ignores what the first process has no handler for
        signal.signal(signal.SIGTERM, _end)
    import pop.hub

    from evbus_like.cli import application, main, output
    from evbus_like.hub import packages

    output.begin()
    application.look_here()
    sys.argv[0] = "evbus"
    try:
        with packages.blamed():
            hub = pop.hub.Hub()
            hub.pop.sub.add(dyne_name="evbus")
    except Exception as error:
        failed = error  # pop's own frames would hold the traceback

        def raise_it() -> int:
            raise failed

        main.finish(raise_it)
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hub.evbus.init.cli()


def _end(number: int, _frame: object) -> NoReturn:
    """End at once: nothing is open yet."""
    os._exit(BY_SIGNAL + number)


def run(hub: Any) -> None:
    """Run the command on a hub that has the bus, and exit with its code."""
    from evbus_like.cli import main

    main.run(hub)
