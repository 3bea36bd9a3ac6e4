"""One line of comma-separated values; a body is a list of plain values."""

import csv
import io

from evbus_like import errors, plugin

__virtualname__ = "csv"  # so named because a file csv.py would hide the library
CONTENT_TYPE = "text/csv"


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body."""
    row = plugin.plain(data, False)
    if not isinstance(row, list):
        raise errors.SerializeError(f"body is a {type(data).__name__}; a line of CSV is made of a list")
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode()


def load(hub, data: bytes):
    """Give the body that was serialized; every value is text."""
    return next(csv.reader(io.StringIO(data.decode())))
