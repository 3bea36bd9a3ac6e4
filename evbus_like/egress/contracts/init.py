"""The contract of an egress plugin.

An egress plugin receives events from one kind of source, for the handlers of an application. It is one file::

    ACCT = ["pigeon"]                          # the providers of a credentials file that it handles

    async def subscribe(hub, ctx, subscription)      # start to receive, return the feed (any object)
    async def receive(hub, ctx, feed)                # wait for the next events: a list of ReceivedEvent, never empty
    async def ack(hub, ctx, feed, events)            # these events are handled
    async def requeue(hub, ctx, feed, event)         # return the event; it is delivered again, here or elsewhere
    async def dead(hub, ctx, feed, event, reason)    # dead-letter the event; return when the dead letter is safe
    async def unsubscribe(hub, ctx, feed)            # end the feed; unsettled events return to the source

The types and errors below are in `evbus_like.plugin` and `evbus_like.errors`. `plugin.EgressPlugin` lets mypy check the
file.

`ctx` is a `plugin.Context` of one profile. `ctx.acct` is the profile's data, `ctx.profile` its name. All handlers of
the profile share it. Keep a connection on it under any other name.

`subscription` is a `plugin.Subscription`::

    source, event_types   the service whose events are wanted, and their types: names, or patterns of AMQP's topic
                          exchanges; subscription.wants(event_type) matches them
    queue                 the name of the queue or consumer group; handlers with the same queue share its events, which
                          is all that pools and singletons need
    exchange              where the service's events come from, unless the profile names another place
    dead                  the name of the queue or topic for dead letters
    delivery              "service_pool", "singleton" or "broadcast"
    reliable              keep events while nobody receives; auto_delete, exclusive: remove the queue with its reader
    prefetch              how many events may be received and unsettled
    shards                a number, or 0; needs SHARDS
    max_priority          a number, or 0; needs PRIORITIES
    since                 where a new queue begins: None, "earliest", "latest", an offset or a datetime; needs REWINDS
    of_calls, expires     see Calls

A `plugin.ReceivedEvent` is made of raw (bytes), routing_key (the event's type), service, id, headers, content_type,
timestamp (seconds since 1970), redelivered, attempt, order, token, content_encoding and key. If the source has no field
for an id, take it from the header "evbus-id". Headers keep their types where the source has types; a source that only
has bytes gives them as text. `token` is the plugin's own.

Optional::

    OPTIONS = {"loft": (str, "which loft the pigeons come to")}       # in addition to the ingress plugin's
    REQUIRES = ["pigeonlib"]                   # libraries that a profile needs; the start names those missing
    REWINDS = True                             # the source supports `since`
    SHARDS = True                              # the source supports `shards`, see Order
    PRIORITIES = True                          # the source supports `max_priority`: a higher priority comes first
    SENDS = {"max_header_bytes": 100_000, "reserved_headers": ("CC",)}  # calls with more, or with these, are refused
    async def retry(hub, ctx, feed, event, delay)    # deliver the event again after `delay` seconds, attempt + 1
    async def send(hub, ctx, feed, messages)         # carry calls, see Calls
    async def open(hub, ctx)                   # called before the first subscribe and after close
    async def close(hub, ctx)                  # all feeds have ended, or open has failed: disconnect
    def validate(hub, ctx)                     # check the profile without connecting; raise ProfileError
    def check(hub, ctx, subscription)          # check a subscription without connecting; raise HandlerError
    async def inspect(hub, ctx, subscription)  # for `evbus check`, see Inspect
    async def dead_letters(hub, ctx, subscription)   # for `evbus dead`, see Dead letters

Without `retry`, the engine keeps an event that is to be handled again, unsettled, and refuses handlers with `later`.

At least once. Nothing is settled before `ack`, `requeue`, `retry` or `dead`. `retry` and `dead` keep the event until
its copy is safe.

Bounds. At most `subscription.prefetch` events may be received and unsettled. The engine calls `receive` only while
there is room; one list may exceed the bound by its own length. Limit what the source sends ahead in the same way.

Cancellation. `receive` is cancelled at a stop. No event may be lost by that: what was taken and not returned is
returned by the next call, or goes back to the source. All other calls have the profile's `timeout` as their deadline.

Order. Events with the same `order` are handled one after another, as `receive` returned them; None means any order.
An event with an order that is to be retried or requeued stays in this process, unsettled, and holds back the others of
its order: `retry` and `requeue` are called for events without an order only. A subscription with `shards` asks that
events of one key are handled one after another in the whole cluster, by at most so many workers. If the feed has the
attribute `shards`, the numbers of those that it reads, the status of the handlers shows them.

Lag. If the feed has the attribute `lag`, status and metrics show it: how many events the source holds for it that are
not settled, or None while that is not known. It is read often, so it must be known without asking the source.

Revoked events. A source that must give up some events of a feed, but not the feed, sets `event.revoked`: no handler
starts on such an event, and nothing settles it. `event.busy` is true while a handler runs: wait for it.

Loss. `subscribe` and `receive` raise TransientError or DestinationRefused if the source cannot be reached or is lost.
The engine then calls unsubscribe and, after a backoff, subscribe, for ever. Events of the lost feed are never settled;
the source must deliver them again, with `redelivered` set. `ack` may raise for a lost feed. It is also called with no
events, to find out whether the feed is lost.

Inspect. `evbus check` calls `inspect` after `open` and before `close`. It looks at what the source has for a
subscription: nothing is received, made or changed. It raises what `subscribe` would raise, and returns a
`plugin.Inspection`: `advice`, sentences that the operator should read, and `samples`, some events that the source
holds, which stay there. `evbus handlers --workers` shows its `workers`, of a subscription with shards: where each runs,
and the numbers of the shards that it reads.

Dead letters. `evbus dead` calls `dead_letters` after `open` and before `close`. It returns a `plugin.Look` at the dead
letters of a subscription, None if there never were any, and raises a DeliveryError if it cannot look. `found_letter`
makes its letters of received events.

Calls. `send` carries requests and answers. Each `plugin.Message` goes to its `exchange` with its `routing_key`, in
order, and arrives as an event with the same `reply_to` and `correlation_id`. Call `message.settle(outcome)` for each,
then or later::

    None                  the broker has it
    Unroutable            `must_arrive` is set, and no queue took it
    TransientError        it was certainly not taken; it may be sent again
    DestinationRefused    it was not taken, and sending it again does not help
    UnknownOutcome        nobody knows

An exception from `send` is the outcome of all messages that are not settled. A subscription with `of_calls` reads from
`subscription.exchange` whatever the profile says of events, and its queue is removed `subscription.expires` seconds
after its last reader has left.

This file defines no function: pop would require the signature of every plugin.
"""
