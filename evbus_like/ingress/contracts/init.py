"""The contract of an ingress plugin.

An ingress plugin delivers events to one kind of destination. It is one file. The smallest has two names::

    ACCT = ["pigeon"]                          # the providers of a credentials file that it handles

    async def publish(hub, ctx, routing_key, body: bytes):
        ...                                    # returns when the destination has the event, else raises

The types and errors below are in `evbus_like.plugin` and `evbus_like.errors`. `plugin.IngressPlugin` and
`plugin.BatchIngressPlugin` let mypy check the file. Plugins of pop-evbus 7, `publish(hub, ctx, body)`, work unchanged.

`ctx` is a `plugin.Context` of one profile. `ctx.acct` is the profile's data, `ctx.profile` its name, `ctx.blocked` and
`ctx.ask` are functions (see Blocked, Ask). Keep a connection on `ctx` under any other name. Two profiles have two
contexts.

Constants, all optional but ACCT::

    OPTIONS = {"loft": (str, "which loft the pigeons leave from")}    # {name: (type or types, help)}
    REQUIRES = ["pigeonlib"]                   # libraries that a profile needs; the start names those missing
    LANE = {"batch_events": 100}               # defaults of the lane: fields of `plugin.LaneOptions`

`max_event_bytes`, `max_header_bytes`, `reserved_headers` and `takes_priority` of LANE say what the destination takes;
`put` refuses the rest. The options of a profile override `limits`, which overrides LANE.

With OPTIONS, which need not name the options of every profile, an unknown one is an error at the start. Without it,
every option is allowed. `bool` is not an `int` here.

Functions. One of the first two is required. Those with `async` may also be plain functions that never block; run
blocking work by `await asyncio.to_thread(...)`, which a cancelled publish does not stop::

    async def publish(hub, ctx, routing_key, body)  # deliver one event
    async def publish_batch(hub, ctx, events)  # deliver many; used instead of publish where both exist
    def publish_now(hub, ctx, events)          # deliver the first events without waiting, return how many; the rest
                                               # goes to publish_batch. Only for plugins without open
    async def open(hub, ctx)                   # connect; called before the first publish and after every close
    async def close(hub, ctx)                  # disconnect; may be called when nothing is open
    async def ping(hub, ctx)                   # `evbus check` calls it after open; return if the destination answers:
                                               # None, or a list of advice for the operator
    def validate(hub, ctx)                     # check the profile without connecting; raise ProfileError
    def limits(hub, ctx)                       # return LANE, computed from the profile:
                                               # {"max_event_bytes": ctx.acct.get("largest", 1000)}

An event is a `plugin.Event`. Lanes share events: do not change them. It has::

    id             unique, and the same in every attempt: send it, so that receivers can recognize repeats
    routing_key    text of at most 255 bytes, perhaps empty
    body           bytes, as the profile's serializer made them, at most max_event_bytes, perhaps none
    content_type   of the serializer: application/json, application/msgpack, application/yaml, text/plain
    headers        a dict, or None. Names are text of 1 to 128 bytes; values are str, int of 64 bits, float, bool,
                   bytes, None or a list of str. A destination that only has text gets str(value)
    key            str, bytes or None, for destinations with partitions or ordering keys
    timestamp      when the bus accepted it, in seconds since 1970
    profile        the `profile=` of the put

An event of a service has the header `plugin.SERVICE_HEADER` ("evbus-service"). `plugin.service_of(event)` returns the
service, or None, and `plugin.events_of(service)` the name of its exchange or topic. Deliver it there, with the routing
key as its type, unless the profile names another place. It is no error if nobody receives it.

Import heavy libraries inside functions: pop imports every plugin at the start. For TLS, pass the profile's `ssl`
mapping to `plugin.tls_context`, which returns an ssl.SSLContext or raises ProfileError.

Order. A lane passes events in the order in which they were accepted. Keep it where the destination has an order.

Concurrency. The bus never runs two calls for one profile at once. Calls for different profiles run side by side.

Deadlines. open and publish are cancelled after the profile's `timeout`. For publish that counts as UnknownOutcome.

Outcomes. publish_batch returns None if every event was delivered. Otherwise it returns one entry per event, in order:

    None                  delivered
    a mapping             delivered; the receipt shows it under `answers`
    an exception          not delivered; the kind decides what happens, see Errors

A shorter list means that the rest was not tried. Events that were not delivered stay first in the lane, and the
connection stays open. Raise if the whole batch failed or the outcome is unknown. The lane then calls close, waits,
calls open and sends the whole batch again, so events that were delivered before the exception may be delivered twice.

Errors. The class decides what the lane does:

    TransientError        connection lost, broker busy: keep the events, retry after a backoff
    PoisonEvent           this event can never be delivered: dead-letter it, continue with the next
    DestinationRefused    wrong password, missing exchange: keep all events, retry slowly, report it once
    UnknownOutcome        sent but not confirmed: send again; the event may arrive twice
    BatchRejected         refused, or the connection was closed, for what was sent: send one by one, dead-letter the
                          event that is refused again
    Stalled               only as the outcome of an event: it waits for a part of the destination, such as a partition
                          without a leader. Later events are sent meanwhile, with this one in front: the plugin lets
                          none overtake that waits for the same part. It is no attempt
    ConnectionLost        the connection ended without a reason: like TransientError, but an event that alone ends it
                          every time, while others are delivered, is dead-lettered
    ProfileError          from validate and limits only: the profile is wrong, and the bus does not start

Any other TimeoutError counts as UnknownOutcome, a ConnectionError of a publish as ConnectionLost, any other OSError as
TransientError. After any other exception the batch is sent in smaller parts, until the event that fails is alone: it is
tried three times, then dead-lettered. Say in the message what a person can do. The bus removes the profile's secrets
from every error.

One event that ends the connection. Some destinations close the connection for an event that they cannot take, and do
not say which. Raise BatchRejected with their words, or return it as the outcome of each event without an answer. An
event that is refused twice alone is dead-lettered. With `BatchRejected("541 internal error", certain=False)` the words
may be about the destination itself: the event is then given up only after another one was delivered in between, or
after six tries if none waits. Raise ConnectionLost if there are no words: an event that alone ends the connection five
times, and once more after a later one was delivered, is given up.

Blocked. A destination may be connected but accept nothing for now (RabbitMQ's memory alarm). Call `ctx.blocked(reason)`
when that begins, also during a publish, and `ctx.blocked(None)` when it ends, in the event loop of open and publish.
Meanwhile the lane's state is "blocked", the deadline of the current publish is paused, so nothing is sent twice, and no
other publish starts. Because the deadline is paused, the plugin must notice a dead connection itself: make the current
publish raise, or call `ctx.blocked(None)` if there is none. close ends a block, too.

Ask. What the destination does not take may be known only when it is connected, such as a topic's limits. Call
`ctx.ask(refuse)`, from limits, open or publish: from then on put calls `refuse(event)`, a plain function that does not
wait, with the serialized event. It returns None, or a text that says why the destination does not take the event; put
raises BadEvent with it. `ctx.ask(refuse, above=1000)` asks about bodies beyond 1000 bytes, and about events with
headers or a long key. A later call replaces the earlier one.

Close. close has nothing to flush: an event is delivered only when publish has returned.

This file defines no function: pop would require the signature of every plugin.
"""
