"""Keep the events of services as files, for the source of the same name: FOLDER/SERVICE.events/NUMBER.json."""

import base64
import json
import time
from pathlib import Path

from evbus_like import errors, plugin

ACCT = ["spool"]
OPTIONS = {"folder": (str, "the folder of the files")}


def publish_batch(hub, ctx, events):
    """Write a file for each event."""
    return [_outcome(Path(ctx.acct.folder), event) for event in events]


def _outcome(folder, event):
    service = plugin.service_of(event)
    if service is None:
        return errors.PoisonEvent("the spool keeps events of services only; put them with dispatch")
    topic = folder / plugin.events_of(service)
    topic.mkdir(parents=True, exist_ok=True)
    headers = {name: value for name, value in event.headers.items() if name != plugin.SERVICE_HEADER}
    facts = {"id": event.id, "type": event.routing_key, "headers": headers, "content_type": event.content_type}
    path = topic / f"{time.time_ns()}.tmp"
    path.write_text(json.dumps({**facts, "body": base64.b64encode(event.body).decode()}))
    path.rename(path.with_suffix(".json"))
    return None
