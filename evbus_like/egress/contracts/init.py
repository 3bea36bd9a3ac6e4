"""The contract of an egress plugin, and its documentation.

A plugin brings events from one kind of source to the handlers of an application. It is one file::

    ACCT = ["pigeon"]                          # the providers of a credentials file that it takes

    async def subscribe(hub, ctx, subscription)      # begin to receive; gives the feed, any object
    async def receive(hub, ctx, feed)                # wait for the next events: a list of ReceivedEvent, not empty
    async def ack(hub, ctx, feed, events)            # these events are dealt with
    async def requeue(hub, ctx, feed, event)         # give the event back; it comes again, here or elsewhere
    async def dead(hub, ctx, feed, event, reason)    # put it to the dead letters; returns when it is safe there
    async def unsubscribe(hub, ctx, feed)            # end the feed; what is not settled is given back

`ctx.acct` is the data of one profile; `ctx` is shared by all handlers of the profile, and the plugin may keep its
connection on it, under any other name. `ctx.profile` is the profile's name.

`subscription` is a `evbus_like.engine.receiving.subscription.Subscription`. It says of which `source` service and which
`event_types` (with the patterns of AMQP's topic exchanges; `subscription.wants(event_type)` knows them), how the
`queue`, or consumer group, is called, and whether it is `reliable`, `auto_delete`, `exclusive`. Handlers that name the
same queue share its events: pools and singletons are made of nothing else. Events of a service come from the place
that the profile names, else from the one called `subscription.exchange`. What was given up goes to `subscription.dead`.

An event is a `evbus_like.engine.receiving.received.ReceivedEvent`: raw bytes, routing_key (the event's type), service,
id, headers, content_type, timestamp, redelivered, attempt, order, token. `evbus-id` in the headers is the id where the
source has no place of its own for it. `token` is yours.

Optional::

    OPTIONS = {"loft": (str, "which loft the pigeons come to")}       # beside those of the ingress plugin
    REQUIRES = ["pigeonlib"]
    REWINDS = True                             # `since` of a handler may be used
    async def retry(hub, ctx, feed, event, delay)    # give the event again after `delay` seconds, attempt counted
    async def send(hub, ctx, feed, letters)    # for calls: write letters (evbus_like.engine.message), in order, and
                                               # settle each, then or later: it arrived, Unroutable, or another error
    async def open(hub, ctx)                   # called before the first subscribe, and after close
    async def close(hub, ctx)                  # all feeds have ended, or an open has failed: let go of the connection
    def validate(hub, ctx)                     # check the profile, connect to nothing; raises ProfileError
    def check(hub, ctx, subscription)          # check a subscription, connect to nothing; raises HandlerError

Without `retry`, an event that is handled again later is kept by the engine meanwhile, unsettled.

Bounds. At most `subscription.prefetch` events may be received and not settled; the engine calls `receive` only while
there is room, and a list may overshoot it by its own length. Bound what the source sends ahead the same way.

Cancelling. `receive` is cancelled at a stop, and no event may be lost by that: what was taken and not returned is given
by the next call, or back to the source. All other calls have the profile's `timeout`.

Order. Events of the same `order` are handled one after another, in the order of `receive`; None means that any order
will do. An event that is retried or held keeps those of its order waiting, where there is no `retry`; one that has an
order and is to be requeued is held, too, and `requeue` is called for the others alone.

Taken back. A source that must let some events of a feed go, and not the feed, sets `event.revoked`: no handler begins
it any more, and nothing is settled for it. `event.busy` tells those that a handler is at work on: wait for them.

Loss. `subscribe` and `receive` raise where the source cannot be reached or is lost (errors of
evbus_like.errors: TransientError, DestinationRefused). The engine then calls unsubscribe and, after a backoff,
subscribe again, for ever. Events of the lost feed are never settled: they must come again, with `redelivered` set.
`ack` may raise for a lost feed; its events come again too. It is called with no events to ask whether the feed is lost.

Calls. A source with `send` carries requests and answers. Each letter goes to its `exchange` by its `routing_key`, and
arrives as an event whose `reply_to` and `correlation_id` are the letter's. `letter.settle(None)` says that it is safe,
`letter.settle(error)` that it is not: Unroutable for one that `must_arrive` and that no queue takes, TransientError
where it is certainly not there and may be sent again, DestinationRefused where that would not help, UnknownOutcome
where nobody knows. Raising is the outcome of all letters that are not settled. Subscriptions of calls
(`subscription.of_calls`) are to `subscription.exchange` whatever the profile says of events, and their queue goes
`subscription.expires` seconds after its last reader has.

At least once: nothing is settled before `ack`, `requeue`, `retry` or `dead`; `retry` and `dead` keep the event until
its copy is safe.
"""
