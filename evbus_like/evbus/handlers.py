"""hub.evbus.handlers: receive events, by the functions that an application's handler plugins mark."""

from evbus_like.engine import errors
from evbus_like.hub.profiles import settings


async def start(hub, contexts=None, only=(), skip=()):
    """Begin to receive for every marked function of the `handler` dyne; returns at once, sources are waited for.

    The bus must run, in this event loop. `contexts` are those that it was started with unless others are given. `only`
    and `skip` are patterns of `service.name` or of services. Gives the number of handlers. Raises HandlerError that
    names everything that is wrong with them, and LifecycleError.
    """
    # Not before: a program that only puts events does without what receives them, and starts sooner.
    from evbus_like.engine.receiving import group
    from evbus_like.hub.application import binding, handlers, responses

    if hub.evbus.RUNTIME.handlers is not None:
        raise errors.LifecycleError("the handlers are started already; await hub.evbus.handlers.stop() first")
    hub.evbus.RUNTIME.bus.require_running("hub.evbus.handlers.start")
    handlers.load(hub)
    found, wrong = handlers.looked_up(hub, only, skip)
    waiting, mistaken = responses.looked_up(hub, only, skip)
    made = group.Group()
    hub.evbus.RUNTIME.handlers = made  # before anything is waited for: a second start is refused
    try:
        contexts = hub.evbus.RUNTIME.contexts if contexts is None else contexts
        consumers = await binding.consumers(hub, contexts, found, made, [*wrong, *mistaken])
        if hub.evbus.RUNTIME.handlers is not made:
            raise errors.LifecycleError("the handlers were stopped before they had started")
        made.start([*consumers, *responses.consumers(hub, waiting, made)])
    except BaseException:
        if hub.evbus.RUNTIME.handlers is made:
            hub.evbus.RUNTIME.handlers = None
        raise
    return len(found) + len(waiting)


async def join(hub, timeout=30.0):
    """Wait until every handler receives; raises TimeoutError after `timeout` seconds, naming those that do not."""
    await _group(hub).subscribed(timeout)


async def ended(hub):
    """Wait until the handlers end: after `stop`, or, with HandlerShutdown, by one whose on_error is SHUTDOWN."""
    await _group(hub).ended()


async def stop(hub, timeout=None):
    """Receive nothing more, and give the calls under way `timeout` seconds (None: the setting stop_timeout).

    What was received and not handled comes again after the next start. Stop the handlers before the bus, so that what
    they put is delivered; `hub.evbus.init.stop` does so by itself. Any event loop may call it.
    """
    made = hub.evbus.RUNTIME.handlers
    if made is None:
        return
    if hub.evbus.RUNTIME.bus.forked:
        raise hub.evbus.RUNTIME.bus.refusal("")
    await made.stop(float(settings.config(hub, "stop_timeout", 30.0)) if timeout is None else timeout)
    if hub.evbus.RUNTIME.handlers is made:  # not before: whoever stops the bus meanwhile waits as well
        hub.evbus.RUNTIME.handlers = None


def status(hub):
    """Give the counts and the state of every handler on every source, as plain data; empty where none was started."""
    made = hub.evbus.RUNTIME.handlers
    return made.status() if made is not None else {}


def _group(hub):
    if hub.evbus.RUNTIME.handlers is None:
        raise errors.LifecycleError("the handlers are not started; await hub.evbus.handlers.start() first")
    return hub.evbus.RUNTIME.handlers
