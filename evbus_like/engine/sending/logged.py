"""An admission that logs each event, for a bus that starts while debug is on."""

from __future__ import annotations

from evbus_like.engine import event_log
from evbus_like.engine.event import Event
from evbus_like.engine.sending.admission import Admission
from evbus_like.engine.sending.router import Route


class LoggedAdmission(Admission):
    """Logs a line for each event that it admits."""

    def admit(self, event: Event) -> tuple[str, ...]:
        """Admit one event and return the names of its lanes; raises PutError, and then no lane has it."""
        names = super().admit(event)
        event_log.put(event, names)
        return names

    def forms(self, event: Event) -> list[tuple[Event, tuple[str, ...]]]:
        """Serialize an event that is sent later."""
        forms = super().forms(event)
        event_log.put(event, [f"{name}, later" for _, names in forms for name in names])
        return forms

    def _hand_over(self, route: Route | None, run: list[Event], size: int) -> int:
        if route is not None:
            for event in run:
                event_log.put(event, route.names)
        return super()._hand_over(route, run, size)
