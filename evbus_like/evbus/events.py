"""hub.evbus.events: the events that an application declares in its `event` folder."""

from evbus_like.hub.application import events


def bind(hub):
    """Turn the functions of hub.event into events, where plugins were added to it later; gives the events.

    `hub.pop.sub.add(dyne_name="evbus")` does it once. Raises DeclarationError, which names all that is wrong.
    """
    book = events.bind(hub)
    book.must_be_sound()
    return list(book.events.values())


def get(hub, service, name):
    """Give a declared event by its service and its name; raises BadEvent that says what there is."""
    return events.get(hub, service, name)


def listed(hub):
    """Give all declared events, in the order of their services and names."""
    return [event for _, event in sorted(hub.evbus.RUNTIME.events.events.items())]
