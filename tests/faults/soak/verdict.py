"""The verdict: what must be true of a publisher once it was stopped and its readers have everything."""

import asyncio
import time
from collections.abc import Iterator

from tests.faults.soak.lanes import KEYS, may_go_with_a_kill
from tests.faults.soak.publishers import Publisher


async def verdict(publisher: Publisher, seconds: float) -> list[str]:
    """Give what is wrong, once the readers had `seconds` for the rest."""
    publisher.ledger.read()
    until = time.monotonic() + seconds
    while (wrong := [*_wrong(publisher)]) and time.monotonic() < until:  # noqa: ASYNC110 - readers tell nobody
        await asyncio.sleep(0.5)
    return wrong + publisher.watch.violations


def _wrong(publisher: Publisher) -> Iterator[str]:
    for profile in publisher.names:
        yield from _lost(publisher, profile)
        tally, prefix = publisher.tally(profile), f"{profile}."
        if late := tally.total("late", prefix):
            yield f"{profile}: {late} events came out of order"
        if other := tally.total("other_ids", prefix):
            yield f"{profile}: {other} events have two ids: a put that raised had stored its event"
        if not publisher.kills:
            lane = publisher.watch.lanes[profile]
            unique, repeats = tally.total("unique", prefix), tally.total("repeats", prefix)
            # What was sent without an answer, and dropped before it was sent again, may have arrived.
            if not lane["delivered"] <= unique <= lane["delivered"] + lane["dropped"]:
                yield f"{profile}: {unique} arrived, and the account says {lane['delivered']} delivered"
            if repeats > lane["retries"]:
                yield f"{profile}: {repeats} repeats, and the account says {lane['retries']} sent again"
    if not publisher.kills:
        yield from _puts(publisher)


def _lost(publisher: Publisher, profile: str) -> Iterator[str]:
    """Say which runs have lost more than they may: a kill takes what was in memory alone, a stop nothing."""
    last = publisher.child.runs_begun
    for run, count in publisher.ledger.missing(profile).items():
        killed = may_go_with_a_kill(profile, publisher.confirm) if run < last else 0
        dropped = int(publisher.watch.lanes[profile]["dropped"]) if run == last else 0
        if count > killed + dropped:
            yield (
                f"{profile}: {count} events of run {run} are lost, {killed} may go with a kill and {dropped} were"
                f" dropped: {publisher.ledger.examples(profile)}"
            )


def _puts(publisher: Publisher) -> Iterator[str]:
    """Hold the account's count of puts against the side file's; each key may have had one on its way at the end."""
    account = publisher.child.latest["account"]
    recorded, unknown = publisher.ledger.recorded.total(), publisher.ledger.unknown
    open_ones = account["put"] - account["rejected"] - recorded
    if not 0 <= open_ones <= unknown + len(publisher.names) * len(KEYS):
        yield (
            f"{publisher.name}: {recorded} puts returned, {unknown} did not say, {account['rejected']} were rejected,"
            f" and the account counts {account['put']}"
        )
