"""`evbus explain`: show which profiles an event reaches, and why."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import common, console, shown
from evbus_like.hub.profiles import plan, settings


async def run(hub: Any) -> int:
    """Print for every profile whether it matches the event profile, and why."""
    options = hub.OPT.evbus_like
    wanted = options.event_profile
    given = await common.contexts(hub)
    matcher = settings.matcher_name(hub, given)
    rows = [_explain(item, wanted, matcher) for item in plan.plan(hub, given)]
    reached = [row for row in rows if row["matches"]]
    if options.json:
        console.document({"event_profile": wanted, "matcher": matcher, "profiles": rows})
    else:
        console.table(
            f"put(profile={wanted!r}) reaches {len(reached)} of {shown.many(len(rows), 'profile')}",
            ("profile", "plugin", "serializer", "reached", "why"),
            [(r["profile"], r["plugin"], r["serializer"], "yes" if r["matches"] else "no", r["why"]) for r in rows],
        )
    return 0 if reached else 1


def _explain(item: plan.Planned, wanted: str, matcher: str) -> dict[str, Any]:
    try:
        matches = item.matches is not None and bool(item.matches(wanted))
        why = f"{matcher} pattern {item.profile!r} {'matches' if matches else 'does not match'} {wanted!r}"
    except Exception as error:
        matches, why = False, f"the matcher failed, so the bus rejects the event: {type(error).__name__}: {error}"
    return {
        "profile": item.name,
        "plugin": item.plugin,
        "serializer": item.serializer,
        "matches": matches and not item.problem,
        "why": f"the profile is wrong: {item.problem}" if item.problem else why,
    }
