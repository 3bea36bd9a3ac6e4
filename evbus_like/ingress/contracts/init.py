"""The contract of an ingress plugin, and its documentation.

A plugin takes events to one kind of destination. It is one file. The smallest has two names::

    ACCT = ["pigeon"]                          # the providers of a credentials file that it takes

    async def publish(hub, ctx, routing_key, body: bytes):
        ...                                    # returns when the destination has the event, raises when not

`ctx.acct` is the data of one profile, `ctx.blocked` a function (see Blocked). The plugin may keep its connection on
`ctx`, under any other name. Plugins of pop-evbus 7, `publish(hub, ctx, body)`, work unchanged.

Constants, all optional but ACCT::

    OPTIONS = {"loft": (str, "which loft the pigeons leave from")}    # name: (type or types, help)
    REQUIRES = ["pigeonlib"]                   # libraries that a profile needs; missing ones are named at the start
    LANE = {"batch_events": 100}               # the lane's defaults: the fields of engine/destination.py:LaneOptions

With OPTIONS a misspelt option is an error at the start; without it, every option is let through.

Functions, all optional but one of the first two. Those with `async` may be plain functions that never block::

    async def publish(hub, ctx, routing_key, body)
    async def publish_batch(hub, ctx, events)  # goes before publish; events have id, routing_key, body (bytes),
                                               # headers (or None), key (or None), timestamp, content_type, profile
    def publish_now(hub, ctx, events)          # beside publish_batch, where nothing is connected: delivers the first
                                               # events that need no waiting, gives their number; the rest goes there
    async def open(hub, ctx)                   # connect; called before the first publish and after every close
    async def close(hub, ctx)                  # let go of the connection; may be called when nothing is open
    async def ping(hub, ctx)                   # for `evbus check`, after open; returns if the destination answers
    def validate(hub, ctx)                     # check the profile, connect to nothing; raises ProfileError
    def limits(hub, ctx)                       # like LANE, worked out from the profile

Import heavy libraries inside functions: pop loads every plugin at the start.

Order. A lane gives its events in the order in which they were accepted. Deliver them in that order where the
destination has one. Events are shared with other lanes: change nothing in them.

Concurrency. For one profile, never two calls at once. Two profiles have two `ctx` and run side by side.

Deadlines. open and publish are cancelled after the profile's `timeout`; after publish, that counts as UnknownOutcome.

Blocked. A destination that is there and takes nothing for now, but will read later what it was given (RabbitMQ's
memory alarm): call `ctx.blocked(reason)` when you hear of it, also in the middle of a publish, and `ctx.blocked(None)`
when it is over. Call it in the event loop of open and publish. Meanwhile the lane's state is "blocked", with your
reason; the deadline of the publish under way stands still, so nothing is sent twice; and no other publish is called.
As nobody else looks at the clock, it is for destinations whose dead connections you notice: then let the publish raise,
and where there is none, call `ctx.blocked(None)`. close ends a block, too.

Outcomes. publish_batch returns None where every event was delivered. Else it returns one entry for each event, in
order: for a delivered one None, or a mapping that its receipt shows under `answers`; an exception for another; a
shorter list says that the rest was not tried. What was not delivered stays first in the lane, and the connection stays
open. Raise where the whole batch failed, or where nobody can know: the lane calls close, waits, calls open, and sends
the batch again. So what was delivered before a raise may be delivered twice.

Errors, from evbus_like.errors; the kind decides what the lane does:

    TransientError        connection lost, broker busy: the events wait, and are sent again after a backoff
    PoisonEvent           this event can never be delivered: it is dead-lettered, the next one goes on
    DestinationRefused    wrong password, missing exchange: all events wait, retried slowly, reported once
    UnknownOutcome        sent, but no answer came: sent again, and may arrive twice
    ProfileError          from validate only: the profile is wrong, and the bus does not start

Any other TimeoutError counts as UnknownOutcome, any other OSError as TransientError. An exception of unknown kind is
tried three times, event by event, then the event is dead-lettered. Say what a person can do about it. Secrets of the
profile are taken out of every error.

close flushes nothing. An event counts as delivered only when publish has returned, so there is nothing to flush.

No function stands in this file: a signature here would shut other people's plugins out.
"""
