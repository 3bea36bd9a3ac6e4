"""Command line: `python -m tests.brokers install` gets the brokers' programs, `... up` runs both until Ctrl-C."""

import argparse
import sys

from .install import install
from .up import up


def main() -> int:
    """Run the named command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.brokers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="get what the tests need to start a RabbitMQ and a Kafka")
    commands.add_parser("up", help="start both, print their addresses and run until Ctrl-C")
    return {"install": install, "up": up}[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(main())
