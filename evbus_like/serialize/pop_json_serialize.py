"""JSON as pop-evbus wrote it: any value has a form, in the end its repr. For programs that rely on such bodies."""

import json
from typing import Any

__virtualname__ = "pop_json"
CONTENT_TYPE = "application/json"  # the plugin json decodes them: without `load`, this is no format of received bodies


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body as pop-serial 2 does (pop_serial/serial/json_serial.py); raises TypeError and ValueError."""
    return json.dumps(data, default=_default).encode()


def _default(value: Any) -> Any:
    if hasattr(value, "__iter__"):
        try:
            return sorted(value) if isinstance(value, set) else list(value)
        except TypeError:  # a set of several types, at which pop-serial fails
            return list(value)
    return repr(value)
