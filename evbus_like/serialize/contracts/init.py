"""The contract of a serialize plugin.

A serialize plugin turns bodies into bytes and back. It is one file with two functions and a constant::

    CONTENT_TYPE = "application/json"          # the media type that every event carries

    def dump(hub, data) -> bytes:              # return the body as bytes
    def load(hub, data: bytes):                # return the body that was serialized

`plugin.SerializePlugin` lets mypy check the file. The profile option `serializer` names it: the file's name, or its
`__virtualname__`. Receivers decode a body with the plugin that has the event's content type.

`dump` is called once per event, however many destinations share the serializer, in the event loop: it must not block.
It may raise anything; the caller of `put` gets a SerializeError. `errors.SerializeError(message, path)` names the place
in the body (`body.items[3].price`). `load` may raise anything, too: the event is dead-lettered.

Import `evbus_like.errors` and `evbus_like.plugin`. These functions apply the table of types that json, msgpack and yaml
share::

    plugin.plain(value, native, path="body", depth=0)

Return a copy of the value that is made of None, bool, int, float, str, list and dict, and of bytes where `native` is
true. `native` says what the format can hold: True for bytes, NaN, infinities and keys of any plain type (as msgpack and
yaml), False for text alone (as JSON): bytes become base64, keys text, and NaN is an error. `path` is the name of the
value in errors, `depth` its nesting, at most 254. Raises SerializeError with the place.

    plugin.convert(value, native_bytes)

Convert one value that a library does not know, for the library's `default` hook: datetime, Decimal, UUID, Enum, set,
dataclass, an object with `__to_bus__()` and so on. The result may hold such values again. Raises TypeError.

    plugin.simple(value, native)

Return True if the value has only builtins with text keys, and a library can serialize it alone; faster than `plain`.

    plugin.finite(value)

Return True if the value has only builtins, and no NaN or infinity; False also if in doubt.
"""
