"""Fuzz a worker with messages and requests over RabbitMQ.

    python -m tests.faults.fuzz                        # 500,000 messages and 500,000 requests
    python -m tests.faults.fuzz --count 5000 --seed 7

A client of its own sends any bytes as bodies, headers, properties, reply addresses and correlation ids to `evbus run`,
on a RabbitMQ of its own. The exit code is 0 if the worker lives, its queues are empty at the end, calls beside the
fuzz were answered, and the memory did not grow.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.brokers.fleet import Fleet
from tests.faults.fuzz.rabbitmq import fuzz


def main() -> int:
    """Fuzz and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500_000, help="messages, and as many requests")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats the same messages")
    given = parser.parse_args()
    with Fleet(["rabbitmq"]) as fleet, tempfile.TemporaryDirectory(prefix="evbus-fuzz-") as folder:
        rabbitmq: Any = fleet.get("rabbitmq")
        outcome = asyncio.run(fuzz(rabbitmq.url, given.count, given.count, given.seed, Path(folder)))
    print(f"seed {given.seed}: {outcome}")
    print("\n".join(outcome.violations) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
