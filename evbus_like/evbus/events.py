"""hub.evbus.events: the events that an application declares in its `event` folder."""

from evbus_like.hub import runtime
from evbus_like.hub.application import events


def bind(hub: runtime.Hub) -> list[events.DeclaredEvent]:
    """Turn the functions of hub.event into events, after plugins were added to it, and return the events.

    `hub.pop.sub.add(dyne_name="evbus")` does it once. Raises DeclarationError that names every problem.
    """
    registry = events.bind(hub)
    registry.must_be_sound()
    return list(registry.events.values())


def get(hub: runtime.Hub, service: str, name: str) -> events.DeclaredEvent:
    """Return a declared event by its service and its name; raises BadEvent, which names similar ones."""
    return events.get(hub, service, name)


def listed(hub: runtime.Hub) -> list[events.DeclaredEvent]:
    """Return all declared events, sorted by service and name."""
    return [event for _, event in sorted(hub.evbus.RUNTIME.events.events.items())]
