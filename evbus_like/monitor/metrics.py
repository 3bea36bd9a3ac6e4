"""The metrics: each is a name, what it means, and where it is in the status document. Nothing is counted for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evbus_like.monitor.document import Process, Status

Labels = tuple[str, ...]
Found = Iterator[tuple[Labels, Any]]  # values of the labels, and the number, or the histogram
STATES = ("starting", "open", "retrying", "blocked", "refused", "tripped", "paused", "closed")


@dataclass(frozen=True)
class Metric:
    """One metric; `find` yields its samples in a process. Counters are named without their suffix `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels
    find: Callable[[Process], Found]


def _one(value: Callable[[Process], Any]) -> Callable[[Process], Found]:
    def find(process: Process) -> Found:
        yield (), value(process)

    return find


def _each(
    rows: Callable[[Process], Mapping[str, Any]], labels: Callable[[str, Any], Labels], name: str
) -> Callable[[Process], Found]:
    def find(process: Process) -> Found:
        for key, row in rows(process).items():
            if row[name] is not None:
                yield labels(key, row), row[name]

    return find


def _states(
    rows: Callable[[Process], Mapping[str, Any]], labels: Callable[[str, Any], Labels]
) -> Callable[[Process], Found]:
    def find(process: Process) -> Found:
        for key, row in rows(process).items():
            for state in STATES:
                yield (*labels(key, row), state), int(row["state"] == state)

    return find


def _process() -> Iterator[Metric]:
    used: Any = lambda name: _one(lambda process: process["used"][name])  # type: ignore[literal-required]  # noqa: E731
    yield Metric("process_cpu_seconds", "counter", "CPU time of the process.", (), used("cpu_seconds"))
    yield Metric("process_resident_memory_bytes", "gauge", "Memory of the process.", (), used("resident_bytes"))
    yield Metric("process_open_fds", "gauge", "Open file descriptors.", (), used("open_files"))
    yield Metric("process_max_fds", "gauge", "The most file descriptors that may be open.", (), used("most_files"))
    started = _one(lambda process: process["started"])
    yield Metric("process_start_time_seconds", "gauge", "When the process started, since 1970.", (), started)
    yield Metric(
        "evbus_event_loop_delay_seconds",
        "histogram",
        "How late the event loop runs what is due, twice a second. Above 0.1: something blocks the loop.",
        (),
        _one(lambda process: process["loop"]),
    )


def _bus() -> Iterator[Metric]:
    bus: Any = lambda name: _one(lambda process: process["bus"][name])  # type: ignore[literal-required]  # noqa: E731
    running = _one(lambda process: int(process["bus"]["state"] == "running"))
    yield Metric("evbus_bus_running", "gauge", "1 while the bus runs, else 0.", (), running)
    queued = "Events in the intake queue, not yet routed."
    yield Metric("evbus_intake_queued_events", "gauge", queued, (), bus("queued"))
    unmatched = "Events put that no profile matched: nobody got them."
    yield Metric("evbus_events_unmatched", "counter", unmatched, (), bus("unmatched"))
    rejected = "Events put that were refused: not serializable, too large, or not taken by the destination."
    yield Metric("evbus_events_rejected", "counter", rejected, (), bus("rejected"))


DESTINATION = {
    "accepted": ("counter", "events_accepted", "Events accepted for the destination."),
    "delivered": ("counter", "events_delivered", "Events that the destination has confirmed."),
    "delivered_bytes": ("counter", "delivered_bytes", "Bytes of the bodies of delivered events."),
    "retried": ("counter", "events_retried", "Events sent again after a failure."),
    "limited": ("counter", "batches_rate_limited", "Batches that waited because of the profile's `rate`."),
    "expired": ("counter", "events_expired", "Events not sent, as their `expires` had passed."),
    "dead": ("counter", "events_dead_lettered", "Events given up; they are dead letters."),
    "queued": ("gauge", "queued_events", "Events that wait in memory."),
    "bytes": ("gauge", "queued_bytes", "Bytes of the bodies that wait in memory."),
    "behind": ("gauge", "behind_events", "Events that wait in the outbox alone, behind those in memory."),
    "in_flight": ("gauge", "in_flight_events", "Events that are being sent, and not confirmed yet."),
    "oldest_age": ("gauge", "oldest_event_age_seconds", "Age of the oldest event in memory, since it was put."),
    "publish": ("histogram", "publish_seconds", "Time from sending a batch to its answer."),
}


def _destinations() -> Iterator[Metric]:
    rows: Any = lambda process: process["bus"]["destinations"]  # noqa: E731
    labels: Any = lambda key, row: (key,)  # noqa: E731
    for name, (kind, suffix, about) in DESTINATION.items():
        find = _each(rows, labels, name)
        yield Metric(f"evbus_destination_{suffix}", kind, about, ("destination",), find)  # type: ignore[arg-type]

    def dropped(process: Process) -> Found:
        for key, row in process["bus"]["destinations"].items():
            for reason, count in row["dropped"].items():
                yield (key, reason), count

    about = "Events dropped: drop_new and drop_old by a full lane, removed with their profile."
    yield Metric("evbus_destination_events_dropped", "counter", about, ("destination", "reason"), dropped)
    about = "1 for the state that the destination is in, 0 for the others."
    yield Metric("evbus_destination_state", "gauge", about, ("destination", "state"), _states(rows, labels))


HANDLER = {
    "received": ("counter", "{}_received", "received from the source."),
    "handled": ("counter", "{}_handled", "handled."),
    "filtered": ("counter", "{}_filtered", "acknowledged without a call, as the handler's `where` does not want them."),
    "expired": ("counter", "{}_expired", "acknowledged without a call, as their `expires` had passed."),
    "failed": ("counter", "{}_failed", "whose handling failed; what became of them is in the next four."),
    "retried": ("counter", "{}_retried", "put off, to be handled again after a delay."),
    "requeued": ("counter", "{}_requeued", "given back to the source."),
    "dead": ("counter", "{}_dead_lettered", "given up; they are dead letters."),
    "repeats": ("counter", "{}_repeated", "not handled again, as they were handled before (dedup, inbox)."),
    "limited": ("counter", "{}_rate_limited", "that waited because of the handler's `rate`; a batch counts once."),
    "lost": ("counter", "{}_unsettled", "that could not be settled, so that the source delivers them again."),
    "busy": ("gauge", "in_progress_{}", "that are being handled now."),
    "lag": ("gauge", "lag_{}", "that the source holds for it and that are not settled."),
    "running": ("histogram", "running_seconds", ""),
}

OF_HANDLERS = ("filtered", "expired", "limited")  # services have none of these


def _receiving(section: str, label: str, noun: str, running: str) -> Iterator[Metric]:
    rows: Any = lambda process: process[section]  # noqa: E731
    labels: Any = lambda key, row: (row["handler"], row["source"])  # noqa: E731
    for name, (kind, suffix, about) in HANDLER.items():
        if name in OF_HANDLERS and section != "handlers":
            continue
        said = f"{noun.capitalize()} {about}" if about else running
        find = _each(rows, labels, name)
        made: Any = (f"evbus_{label}_{suffix.format(noun)}", kind, said, (label, "source"), find)
        yield Metric(*made)
    about = f"1 for the state that the {label} is in, 0 for the others."
    yield Metric(f"evbus_{label}_state", "gauge", about, (label, "source", "state"), _states(rows, labels))


CALLS = {
    "calls": ("counter", "evbus_calls_made", "Calls sent."),
    "answers": ("counter", "evbus_calls_answered", "Answers that came in time, also those that are errors."),
    "late": ("counter", "evbus_calls_late", "Answers that came when nobody waited for them any more."),
    "timeouts": ("counter", "evbus_calls_timed_out", "Calls without an answer within their timeout."),
    "answered": ("histogram", "evbus_call_seconds", "Time from a call to its answer."),
}


def _calls() -> Iterator[Metric]:
    for name, (kind, full_name, about) in CALLS.items():
        find = _each(lambda process: process["calls"], lambda key, row: (row["source"], row["exchange"]), name)
        yield Metric(full_name, kind, about, ("source", "exchange"), find)  # type: ignore[arg-type]


OUTBOX = {
    "bytes": ("gauge", "evbus_outbox_bytes", "Bytes of events and dead letters in the outbox."),
    "max_bytes": ("gauge", "evbus_outbox_limit_bytes", "The most bytes that the outbox takes (outbox_max_bytes)."),
    "dead": ("gauge", "evbus_outbox_dead_letters", "Dead letters in the outbox: see `evbus dead ls`."),
    "scheduled": ("gauge", "evbus_outbox_scheduled_events", "Events in the outbox that are not due yet."),
    "commits": ("histogram", "evbus_outbox_commit_seconds", "Time of a commit, with its write to the disk."),
}


def _outbox() -> Iterator[Metric]:
    box: Any = lambda process: {"": process["bus"]["outbox"]} if process["bus"]["outbox"] else {}  # noqa: E731

    def pending(process: Process) -> Found:
        for each in box(process).values():
            for destination, count in each["pending"].items():
                yield (destination,), count

    def usable(process: Process) -> Found:
        for each in box(process).values():
            yield (), int(not each["trouble"])

    for name, (kind, full_name, about) in OUTBOX.items():
        yield Metric(full_name, kind, about, (), _each(box, lambda key, row: (), name))  # type: ignore[arg-type]
    about = "Events in the outbox, by destination; also for destinations whose profile is gone."
    yield Metric("evbus_outbox_events", "gauge", about, ("destination",), pending)
    yield Metric("evbus_outbox_usable", "gauge", "1 while the outbox can be written, else 0.", (), usable)


POSTGRES = {
    "parts": ("gauge", "parts", "Parts of the table that this process relays."),
    "waiting": ("gauge", "waiting_events", "Events in these parts that are not delivered, as of the last ten seconds."),
    "oldest_age": ("gauge", "oldest_event_age_seconds", "Age of the oldest of these, since it was put."),
    "scheduled": ("gauge", "scheduled_events", "Events in these parts that are not due yet, as of the same moment."),
    "unmatched": ("gauge", "unmatched_events", "Waiting events that no profile of this process matches."),
    "delivered": ("counter", "events_delivered", "Events from the table that all their destinations have confirmed."),
    "dead": ("counter", "events_dead_lettered", "Events from the table that a destination gave up."),
}


def _postgres() -> Iterator[Metric]:
    rows: Any = lambda process: process["bus"].get("postgres", {})  # noqa: E731
    labels: Any = lambda key, row: (key,)  # noqa: E731
    for name, (kind, suffix, about) in POSTGRES.items():
        yield Metric(f"evbus_postgres_{suffix}", kind, about, ("profile",), _each(rows, labels, name))  # type: ignore[arg-type]
    about = "1 for the state that the relay is in, 0 for the others."
    yield Metric("evbus_postgres_state", "gauge", about, ("profile", "state"), _states(rows, labels))


METRICS = (
    *_bus(),
    *_destinations(),
    *_receiving("handlers", "handler", "events", "Time that the handler takes for an event."),
    *_receiving("services", "service", "requests", "Time that the service takes for a request, with its answer."),
    *_calls(),
    *_outbox(),
    *_postgres(),
    *_process(),
)


@dataclass(frozen=True)
class PortMetric:
    """A metric of the port, not of a process."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: Callable[[Status], float]


def _readers(name: str) -> Callable[[Status], float]:
    def value(status: Status) -> float:
        readers: Any = status["readers"] or {}
        return float(readers.get(name, 0))

    return value


PORT = (
    PortMetric(
        "evbus_ready",
        "gauge",
        "1 if everything behind this port is ready, else 0; /ready says why not.",
        lambda status: int(status["ready"]),
    ),
    PortMetric("evbus_http_followers", "gauge", "Clients that follow /events.", _readers("following")),
    PortMetric(
        "evbus_http_followers_dropped", "counter", "Clients of /events that took nothing for 10 s.", _readers("dropped")
    ),
    PortMetric("evbus_http_connections_refused", "counter", "Connections above the 200 at once.", _readers("refused")),
)


def table() -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each metric, as a scraper sees it: its name, type, labels and meaning."""
    both: Any = (*PORT, *METRICS)
    for each in both:
        suffix = "_total" if each.kind == "counter" else ""
        yield f"{each.name}{suffix}", each.kind, ", ".join(getattr(each, "labels", ())), each.help
