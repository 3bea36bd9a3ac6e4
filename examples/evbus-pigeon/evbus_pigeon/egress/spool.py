"""Read the events of services from files: FOLDER/SERVICE.events/NUMBER.json.

A queue is a folder, too. A file in it says what happened to the event of the same number: NUMBER.taken, by a worker;
NUMBER.again, it was taken before; NUMBER.done, it is settled.
"""

import asyncio
import base64
import json
from pathlib import Path

from evbus_like import plugin

ACCT = ["spool"]
REWINDS = True
POLL = 0.02  # seconds


async def subscribe(hub, ctx, subscription):
    """Return the feed: any object. From now on, no event is missed."""
    root = Path(ctx.acct.folder)
    topic, queue = root / subscription.exchange, root / subscription.queue
    topic.mkdir(parents=True, exist_ok=True)
    if not queue.exists():
        queue.mkdir()
        if subscription.since != "earliest":
            for path in topic.glob("*.json"):
                (queue / f"{path.stem}.done").touch()
    return {"subscription": subscription, "root": root, "topic": topic, "queue": queue, "taken": set()}


async def receive(hub, ctx, feed):
    """Wait for the next events. No event is lost when this is cancelled: it awaits only while it holds none."""
    while not (events := _take(feed)):
        await asyncio.sleep(POLL)
    return events


async def ack(hub, ctx, feed, events):
    """Settle events that were handled; called with none to ask whether the feed is lost."""
    for event in events:
        _settle(feed, event.token, "done")


async def requeue(hub, ctx, feed, event):
    """Return an event to the queue."""
    _settle(feed, event.token, "again")


async def dead(hub, ctx, feed, event, reason):
    """Write the dead letter, then settle the event: a crash in between repeats it, and loses nothing."""
    headers = {**event.headers, **plugin.dead_letter_headers(event, feed["queue"].name, reason)}
    body = base64.b64encode(event.raw).decode()
    folder = feed["root"] / feed["subscription"].dead
    folder.mkdir(exist_ok=True)
    facts = {"id": event.id, "type": event.routing_key, "headers": headers, "content_type": event.content_type}
    (folder / f"{event.token}.json").write_text(json.dumps({**facts, "body": body}))
    _settle(feed, event.token, "done")


async def unsubscribe(hub, ctx, feed):
    """Return what is not settled to the queue."""
    for number in list(feed["taken"]):
        _settle(feed, number, "again")


def _take(feed):
    room, events = feed["subscription"].prefetch - len(feed["taken"]), []
    for path in sorted(feed["topic"].glob("*.json")):
        if len(events) >= room:
            break
        if not (feed["queue"] / f"{path.stem}.done").exists() and _claimed(feed, path.stem):
            events += _wanted(feed, path)
    return events


def _claimed(feed, number):
    try:
        (feed["queue"] / f"{number}.taken").touch(exist_ok=False)  # only one worker can create it
    except FileExistsError:
        return False
    feed["taken"].add(number)
    return True


def _wanted(feed, path):
    facts, subscription = json.loads(path.read_text()), feed["subscription"]
    if not subscription.wants(facts["type"]):
        _settle(feed, path.stem, "done")
        return []
    return [
        plugin.ReceivedEvent(
            raw=base64.b64decode(facts["body"]),
            routing_key=facts["type"],
            service=subscription.source,
            id=facts["id"],
            headers=facts["headers"],
            content_type=facts["content_type"],
            timestamp=int(path.stem) / 1e9,
            redelivered=(feed["queue"] / f"{path.stem}.again").exists(),
            token=path.stem,
        )
    ]


def _settle(feed, number, how):
    (feed["queue"] / f"{number}.{how}").touch()
    (feed["queue"] / f"{number}.taken").unlink()
    feed["taken"].discard(number)
