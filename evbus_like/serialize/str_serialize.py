"""Plain text: text and bytes as they are, anything else in Python's notation. For receivers that want no format."""

import ast

from evbus_like.engine import values

__virtualname__ = "str"
CONTENT_TYPE = "text/plain"


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body."""
    if isinstance(data, bytes):
        return data
    plain = values.plain(data, True)
    return str(plain).encode()


def load(hub, data: bytes):
    """Give the value where the text is a Python literal, else the text."""
    text = data.decode()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
