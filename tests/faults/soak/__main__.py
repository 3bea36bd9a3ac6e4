"""Random faults against publishing processes, for as long as you like.

    python -m tests.faults.soak                               # an hour, with 50 kills
    python -m tests.faults.soak --minutes 5 --seed 7 --json

Real brokers of its own; RabbitMQ and Kafka are killed, frozen, cut off and slowed down, the disk under the outboxes
fills up, a publisher is killed and started again. Every minute the account is checked: accepted = delivered + pending +
dead-lettered + counted drops. Progress goes to standard error, a summary to standard output.

Exit codes: 0 if nothing was wrong, 1 if something was, or if the soak could not continue, 2 for wrong options.
"""

import argparse
import asyncio
import json
import logging
import math
import random
import re
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from tests.brokers.fleet import Fleet
from tests.brokers.kafka import Kafka
from tests.brokers.rabbitmq import RabbitMQ
from tests.faults.proxy import Proxy
from tests.faults.sites import KafkaSite, RabbitSite, Site
from tests.faults.soak.disk import Tmpfs, own_disk
from tests.faults.soak.soak import Soak
from tests.faults.soak.summary import as_text, summarize

KILLS = 50 / 60  # a minute


def say(text: str) -> None:
    """Print the progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def run(given: argparse.Namespace, fleet: Fleet, folder: Path, tmpfs: Tmpfs | None = None) -> Soak:
    """Put proxies in front of the brokers, and soak."""
    rabbitmq, kafka = [await asyncio.to_thread(fleet.get, name) for name in ("rabbitmq", "kafka")]
    if not isinstance(rabbitmq, RabbitMQ) or not isinstance(kafka, Kafka):
        raise SystemExit("a soak needs brokers of its own: unset the variables that name others")
    name = f"soak-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        rabbit_proxy = stack.enter_context(Proxy(rabbitmq.port))
        kafka_proxy = stack.enter_context(Proxy(kafka.proxied_port, kafka.proxy_port))
        sites: list[Site] = [RabbitSite(rabbitmq, rabbit_proxy, name), KafkaSite(kafka, kafka_proxy, name)]
        for site in sites:
            await site.make()
        soak = Soak(given, sites, folder, tmpfs, say)
        say(f"{given.minutes:g} minutes, seed {given.seed}, {given.kills} kills; full disk: {soak.disk.how}")
        await soak.run()
    return soak


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        "make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=60.0)
    add("--seed", type=int, default=random.randrange(10**6), help="repeats the same faults, kills and cuts")
    add("--kills", type=int, help="how often to kill the publisher, spread over the time (50 an hour, one at least)")
    add("--torn", type=int, default=4, help="how many outboxes to cut, in a phase of their own at the end")
    add("--json", action="store_true", help="print the summary as JSON")
    add("--confirm", choices=["accepted", "delivered"], default="accepted", help="what the puts wait for")
    add("--options", type=json.loads, default={}, help='further options of all profiles, as JSON: {"timeout": 1}')
    add("--only", type=re.compile, default=re.compile(""), help='faults to choose from, as in "disk|amqp: killed"')
    add("--longest", type=float, default=15.0, help="seconds that a fault may last")
    add("--pause", type=float, default=0.03, help="seconds between two puts of a key")
    add("--disk", choices=["auto", "tmpfs", "limit"], default="auto", help="how the disk becomes full (auto: tmpfs)")
    parsed = parser.parse_args(given)
    if parsed.kills is None:
        parsed.kills = max(1, math.ceil(parsed.minutes * KILLS))
    return parsed


def main() -> int:
    """Soak and print the summary."""
    given = arguments()
    logging.basicConfig(level=logging.CRITICAL)  # the readers' libraries log every broker that is killed
    with tempfile.TemporaryDirectory(prefix="evbus-soak-") as name:
        tmpfs, why_not = own_disk(given.disk, Path(name) / "disk")
        if why_not:
            say(f"{why_not}: files of the publishers get a limit instead")
        with closing(tmpfs) if tmpfs else nullcontext(), Fleet(["kafka", "rabbitmq"]) as fleet:
            summary = summarize(asyncio.run(run(given, fleet, Path(name), tmpfs)))
    print(json.dumps(summary, indent=2) if given.json else as_text(summary))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
