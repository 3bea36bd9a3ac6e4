"""What must be true of a publisher after its stop, once the readers have received everything."""

import asyncio
import time
from collections.abc import Iterator

from tests.faults.soak.lanes import KEYS, most_lost_by_a_kill
from tests.faults.soak.publishers import Publisher


async def violations_of(publisher: Publisher, seconds: float) -> list[str]:
    """Give what is wrong after the readers have had `seconds` to receive the rest."""
    publisher.ledger.read()
    until = time.monotonic() + seconds
    while (wrong := [*_wrong(publisher)]) and time.monotonic() < until:  # noqa: ASYNC110 - readers signal nothing
        await asyncio.sleep(0.5)
    return wrong + publisher.monitor.violations


def _wrong(publisher: Publisher) -> Iterator[str]:
    for profile in publisher.names:
        yield from _lost(publisher, profile)
        arrivals, prefix = publisher.arrivals(profile), f"{profile}."
        if late := arrivals.total("late", prefix):
            yield f"{profile}: {late} events came out of order"
        if other := arrivals.total("other_ids", prefix):
            yield f"{profile}: {other} events have two ids: a put that raised had stored its event"
        if not publisher.kills:
            lane = publisher.monitor.lanes[profile]
            unique, repeats = arrivals.total("unique", prefix), arrivals.total("repeats", prefix)
            # An event that was sent without a confirm and dropped before it was sent again may have arrived.
            if not lane["delivered"] <= unique <= lane["delivered"] + lane["dropped"]:
                yield f"{profile}: {unique} arrived, and the account says {lane['delivered']} delivered"
            if repeats > lane["retries"]:
                yield f"{profile}: {repeats} repeats, and the account says {lane['retries']} sent again"
    if not publisher.kills:
        yield from _puts(publisher)


def _lost(publisher: Publisher, profile: str) -> Iterator[str]:
    """Report runs that have lost too much: a kill may lose what was only in memory, a stop nothing."""
    last = publisher.child.runs_begun
    for run, count in publisher.ledger.missing(profile).items():
        killed = most_lost_by_a_kill(profile, publisher.confirm) if run < last else 0
        dropped = int(publisher.monitor.lanes[profile]["dropped"]) if run == last else 0
        if count > killed + dropped:
            yield (
                f"{profile}: {count} events of run {run} are lost, {killed} may go with a kill and {dropped} were"
                f" dropped: {publisher.ledger.examples(profile)}"
            )


def _puts(publisher: Publisher) -> Iterator[str]:
    """Compare the account's count of puts with the side file; each key may have had one unfinished put at the end."""
    account = publisher.child.latest["account"]
    recorded, unknown = publisher.ledger.recorded.total(), publisher.ledger.unknown
    open_ones = account["put"] - account["rejected"] - recorded
    if not 0 <= open_ones <= unknown + len(publisher.names) * len(KEYS):
        yield (
            f"{publisher.name}: {recorded} puts returned, {unknown} did not say, {account['rejected']} were rejected,"
            f" and the account counts {account['put']}"
        )
