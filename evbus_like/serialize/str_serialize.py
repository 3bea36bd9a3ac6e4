"""Plain text: text and bytes unchanged, anything else as a Python literal. For receivers that expect no format."""

import ast
from typing import Any

from evbus_like import plugin

__virtualname__ = "str"
CONTENT_TYPE = "text/plain"


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body; raises SerializeError that names the place in the body."""
    if isinstance(data, bytes):
        return data
    plain = plugin.plain(data, True)
    return str(plain).encode()


def load(hub: Any, data: bytes) -> Any:
    """Return the value if the text is a Python literal, else the text."""
    text = data.decode()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
