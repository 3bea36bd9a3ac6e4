import csv
import io

from evbus_like import errors, plugin

__virtualname__ = "csv"
CONTENT_TYPE = "text/csv"


def dump(hub, data) -> bytes:
    """Return a list as one line; raises SerializeError."""
    row = plugin.plain(data, native=False)
    if not isinstance(row, list):
        raise errors.SerializeError(f"body is a {type(data).__name__}; a line of CSV is made of a list")
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode()


def load(hub, data: bytes):
    """Return the list that was serialized; every value is text."""
    return next(csv.reader(io.StringIO(data.decode())))
