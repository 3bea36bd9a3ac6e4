"""The contract of a serialize plugin, and its documentation.

A plugin is one file with two functions and a constant::

    CONTENT_TYPE = "application/json"          # goes with every event, as the receiver's hint

    def dump(hub, data) -> bytes:              # a body becomes bytes
    def load(hub, data: bytes):                # bytes become a body again

`dump` is called once for an event, however many destinations share the serializer, in the event loop: it must not
block. It may raise anything; `evbus_like.errors.SerializeError` lets it name the place in the body.
`evbus_like.engine.values.plain` turns a body into builtins by the same table that json, msgpack and yaml keep.
"""
