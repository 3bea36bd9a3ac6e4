"""Makes the queue of a handler's events, by the options that it has."""

from __future__ import annotations

from collections.abc import Callable

from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.batch_queue import BatchQueue
from evbus_like.engine.receiving.breaker import CircuitBreaker
from evbus_like.engine.receiving.gated_queue import GatedQueue
from evbus_like.engine.receiving.handler import HandlerOptions
from evbus_like.engine.receiving.invoker import Decode
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.rated_queue import RatedQueue, share_of


def queue_for(
    options: HandlerOptions,
    add_worker: Callable[[], None],
    breaker: CircuitBreaker | None,
    bucket: Bucket | None,
    on_wait: Callable[[], None],
    decode: Decode | None,
) -> KeyedQueue:
    """Return a queue that does what the options say and no more; `decode` is for shares by a part of the body."""
    kinds: list[type[KeyedQueue]] = []
    if breaker is not None:  # first: a worker that waits for it must keep no place of the rate
        kinds.append(GatedQueue)
    if bucket is not None:
        kinds.append(RatedQueue)
    if options.batch is not None:
        kinds.append(BatchQueue)
    kind: type[KeyedQueue] = (kinds or [KeyedQueue])[0] if len(kinds) < 2 else type("Queue", tuple(kinds), {})
    queue = kind(add_worker)
    if breaker is not None and isinstance(queue, GatedQueue):
        queue.breaker = breaker
    if bucket is not None and isinstance(queue, RatedQueue):
        queue.bucket, queue.on_wait = bucket, on_wait
        if options.rate_by:
            queue.share_out(share_of(options.rate_by, decode or (lambda event: None)))
    if options.batch is not None and isinstance(queue, BatchQueue):
        queue.most, queue.linger = options.batch, options.lingers
    return queue
