"""The summary of a soak, as data and as text."""

from typing import Any

from tests.faults.soak.publishers import Publisher, as_line
from tests.faults.soak.soak import Soak


def summarize(soak: Soak) -> dict[str, Any]:
    """Give the results of a run as data."""
    destinations, torn = soak.arrivals_by_provider, soak.torn
    return {
        "ok": not soak.violations,
        "seconds": round(soak.seconds),
        "seed": soak.given.seed,
        "disk_full": [disk.how for disk in (soak.tmpfs, soak.limit) if disk],
        "faults": dict(sorted(soak.happened.items())),
        "kills": soak.kills,
        "kills_beside_a_broker_that_is_away": soak.beside,
        "kills_with_a_torn_uncommitted_write": soak.spoilt,
        "puts_refused_by_the_full_disk": sum(p.monitor.refused for p in soak.publishers),
        "arrived": {name: arrivals.total("unique") for name, arrivals in destinations.items()},
        "repeats": {name: arrivals.total("repeats") for name, arrivals in destinations.items()},
        "late": {name: arrivals.total("late") for name, arrivals in destinations.items()},
        "ids_used_twice": soak.ids_used_twice,
        "redelivered_to_the_reader": destinations["amqp"].redelivered,
        "publishers": {publisher.name: _of(publisher) for publisher in soak.publishers},
        "memory_mib": [round(sample / 2**20, 1) for sample in soak.steady.monitor.samples],
        "memory_flat": soak.steady.monitor.flat,
        "torn": {"rounds": torn.rounds, "put": torn.put, "arrived": torn.arrived, "torn_away": torn.torn_away},
        "violations": soak.violations,
    }


def _of(publisher: Publisher) -> dict[str, Any]:
    return {
        **publisher.line(),
        "starts": publisher.child.runs_begun,
        "reports_checked": publisher.monitor.checked,
        "lanes": publisher.monitor.lanes,
    }


def as_text(summary: dict[str, Any]) -> str:
    """Give a summary as text."""
    faults, torn = sum(summary["faults"].values()), summary["torn"]
    memory = summary["memory_mib"]
    lines = [
        f"{summary['seconds']} s, seed {summary['seed']}: {faults} faults, {summary['kills']} kills of the publisher"
        f" ({summary['kills_beside_a_broker_that_is_away']} while a broker was down,"
        f" {summary['kills_with_a_torn_uncommitted_write']} with a torn write after the last commit)",
        *(f"{name}: {as_line(account)}" for name, account in summary["publishers"].items()),
        f"repeats {summary['repeats']}, out of order {summary['late']}, ids used twice {summary['ids_used_twice']}",
        f"disk full ({', '.join(summary['disk_full'])}): {summary['puts_refused_by_the_full_disk']} puts raised",
        f"torn outboxes ({', '.join(torn['rounds']) or 'none'}): {torn['put']} put, {torn['arrived']} arrived,"
        f" {torn['torn_away']} cut away with the file, which the bus has not lost",
        f"memory of the publisher that was never killed: {memory[0] if memory else 0} MiB at first,"
        f" {memory[-1] if memory else 0} MiB at last, {'flat' if summary['memory_flat'] else 'GROWING'}",
        *(f"WRONG: {text}" for text in summary["violations"]),
        "nothing was lost" if summary["ok"] else f"{len(summary['violations'])} things are wrong",
    ]
    return "\n".join(lines)
