"""Decode received bodies: the one place that decides the format, the encoding and the bounds of a body."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Any

from evbus_like.engine import cloudevents
from evbus_like.engine.foreign import text_of
from evbus_like.engine.receiving.attributes import take_attributes
from evbus_like.engine.receiving.received import BadBody, BodilessEvent, ReceivedEvent
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub import plugins
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.hub.profiles.source import PluginSource

Load = Callable[[bytes], Any]

JSON: tuple[str, ...] = ("json",)  # what services accept, and callers of answers, unless told otherwise
SHIPPED = frozenset({"json", "msgpack", "yaml", "str"})
UNASKED = frozenset({"yaml"})  # formats that handlers accept only if they name them
MAX_ELEMENTS = 250_000  # keys and values of a body; the setting max_body_elements
LEAST_ELEMENTS = 20_000  # of that setting: a body with no more bytes need not be counted
MAX_BYTES = 16 * 1024 * 1024  # of a body that was compressed, where the profile says nothing
MOST_TYPES, LONGEST_KEY = 1000, 300  # content types and encodings that are remembered, and the characters of one
LONGEST = 100  # characters of a foreign name in a message
MOST_ENCODINGS, MOST_MEMBERS = 4, 100  # of one body: encodings on top of each other, and parts of one gzip file

ENCODING = "content-encoding"  # header, where the broker has no such property
COMPRESSION = "compression"  # header of kombu, and so of nameko and celery (kombu/compression.py)
PLAIN = frozenset({"", "identity", "none", "binary", "8bit", "7bit"})  # kombu says binary of bytes
GZIP, ZLIB, RAW = 47, 15, -15  # zlib's window bits: gzip or zlib by the header, zlib, neither header
COMPRESSIONS = {"gzip": GZIP, "x-gzip": GZIP, "application/x-gzip": GZIP, "deflate": ZLIB, "zlib": ZLIB}

UNUSUAL = frozenset({ENCODING, COMPRESSION, *cloudevents.MARKS})  # headers that say how to decode a body
MEDIA_TYPE = "datacontenttype"

TYPES = {
    **dict.fromkeys(("text/json", "application/x-json", "json", cloudevents.MEDIA), "json"),
    **dict.fromkeys(("application/x-yaml", "text/yaml", "text/x-yaml", "application/vnd.yaml", "yaml"), "yaml"),
    **dict.fromkeys(
        ("application/x-msgpack", "application/vnd.msgpack", "application/messagepack", "application/x-messagepack"),
        "msgpack",
    ),
}
TEXTS = frozenset({"json", "yaml", "str"})  # formats that are text, in UTF-8 unless the content type has a charset
# Codecs by all their names: Python's own look-up would import a module for every name that a sender makes up, and has
# codecs that are no charsets, some of which take quadratic time.
CHARSETS = {
    name: codec
    for alias, codec in aliases.items()
    if not codec.endswith("_codec") and codec not in ("rot_13", "mbcs", "utf_7")
    for name in (alias, codec)
} | {"utf_8_sig": "utf_8_sig"}


def max_elements(hub: Hub) -> int:
    """Return the most keys and values that a body may have."""
    return int(settings.config(hub, "max_body_elements", MAX_ELEMENTS))


def too_many(limit: int) -> str:
    """Return the reason for refusing a body of too many elements."""
    return f"more than {limit} keys and values; the setting max_body_elements allows more"


def problem(hub: Hub, accept: Collection[str], default_format: str) -> str:
    """Return what is wrong with the options `accept` and `default_format`, or an empty string."""
    known = formats(hub)
    for option, name in (*(("accept", each) for each in accept), ("default_format", default_format)):
        if name and name not in known:
            return f"{option} names a serializer that does not exist, {name!r}; {did_you_mean(name, known)}"
    if default_format and accept and default_format not in accept:
        return f"default_format is {default_format}, which accept does not have ({', '.join(accept)})"
    return ""


def profile_problems(hub: Hub, data: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with these options of a profile."""
    accept, default_format = data.get("accept", ()), data.get("default_format", "")
    accept = (accept,) if isinstance(accept, str) else accept
    if not isinstance(accept, (list, tuple)) or not isinstance(default_format, str):
        return []  # their types are reported with those of the other options
    found = problem(hub, [str(each) for each in accept], default_format)
    return [f"option {found}"] if found else []


def formats(hub: Hub) -> dict[str, Any]:
    """Return the serialize plugins that can decode, by name."""
    found = plugins.loaded(hub, "serialize").items()
    return {name: each for name, each in found if getattr(each, "CONTENT_TYPE", "") and "load" in each._funcs}


def of_source(
    hub: Hub,
    source: PluginSource,
    accept: Sequence[str] = (),
    default_format: str = "",
    otherwise: Sequence[str] = (),
    declared: Collection[str] = (),
) -> Callable[[ReceivedEvent], Any]:
    """Return the decoder for what a source gives: by its receiver's options, else by the profile's, else `otherwise`.

    Without any of them, all formats but YAML are accepted. Raises ProfileError or HandlerError for wrong names.
    """
    chosen = accept or source.accept or otherwise
    assumed = default_format or source.default_format
    if otherwise and not assumed:
        assumed = otherwise[0] if otherwise[0] in chosen else chosen[0]
    return decoder(hub, chosen, assumed, source.max_event_bytes, declared)


def decoder(
    hub: Hub,
    accept: Sequence[str] = (),
    default_format: str = "",
    max_bytes: int = MAX_BYTES,
    declared: Collection[str] = (),
) -> Callable[[ReceivedEvent], Any]:
    """Return the function that decodes bodies by content type and content encoding; it raises BadBody and nothing else.

    `accept` names the formats that are decoded; without it, all but YAML. A body of no content type is of the
    `default_format`; without it, one whose event type is `declared` is JSON. Other such bodies, and those of an unknown
    content type, stay bytes.
    """
    return _Decoder(hub, accept, default_format, max_bytes, declared).decode


class _Decoder:
    """Decodes the bodies of one receiver; keeps one function for each content type and encoding that was seen."""

    def __init__(
        self, hub: Hub, accept: Sequence[str], default_format: str, max_bytes: int, declared: Collection[str]
    ) -> None:
        found = formats(hub)
        self._loads: dict[str, Load] = {name: plugins.unwrapped(hub, each.load) for name, each in found.items()}
        self._loads["str"] = _text
        self._names = {**TYPES, **{each.CONTENT_TYPE.lower(): name for name, each in found.items()}}
        self._accept = tuple(
            accept or (name for name in sorted(found) if name not in UNASKED or name == default_format)
        )
        self._default = default_format
        self._declared = declared
        self._max_bytes = max_bytes
        self._quotes = not found.keys() <= SHIPPED  # errors of the shipped formats quote nothing
        self._found: dict[tuple[str, str], Load] = {}
        # Most events name their content type as plugins write it.
        self._usual = {each.CONTENT_TYPE: self._loads[name] for name, each in found.items() if name in self._accept}

    def decode(self, event: ReceivedEvent) -> Any:
        """Return the decoded body of an event; raises BadBody."""
        try:
            load, headers = self._usual.get(event.content_type), event.headers
            if load is None or event.content_encoding or (headers and not UNUSUAL.isdisjoint(headers)):
                return self._decode_unusual(event)
            return load(event.raw)
        except (BadBody, KeyboardInterrupt):
            raise
        except BaseException as error:
            if encoding := _spelled_otherwise(event):
                return self._decode_otherwise(event, encoding)
            raise self._bad(error) from None

    def _decode_unusual(self, event: ReceivedEvent) -> Any:
        """Return the body of an event that is encoded, of another content type, or a CloudEvent."""
        load = self._load_of(event, _encoding(event))
        if cloudevents.is_structured(event.content_type):
            attributes, data = cloudevents.of_envelope(load(event.raw))
            take_attributes(event, attributes)
            media = event.cloudevent.get("datacontenttype") if event.cloudevent else None
            return self._cached(str(media or "application/json"), "")(data) if isinstance(data, bytes) else data
        if (found := cloudevents.of_headers(event.headers)) is not None:
            take_attributes(event, found if not event.content_type else {**found, MEDIA_TYPE: event.content_type})
            if isinstance(event, BodilessEvent):
                return None
        return load(event.raw)

    def _decode_otherwise(self, event: ReceivedEvent, encoding: str) -> Any:
        """Return the body of an event whose content encoding is in a header such as Content-Encoding."""
        try:
            return self._load_of(event, encoding)(event.raw)
        except (BadBody, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._bad(error) from None

    def _bad(self, error: BaseException) -> BadBody:
        return BadBody(text_of(error)[:500], self._quotes)

    def _load_of(self, event: ReceivedEvent, encoding: str) -> Load:
        content_type = event.content_type
        if not content_type:
            content_type = self._default or (self._assumed() if event.routing_key in self._declared else "")
        return self._cached(content_type, encoding)

    def _cached(self, content_type: str, encoding: str) -> Load:
        key = content_type, encoding
        load = self._found.get(key)
        if load is None:
            load = self._chosen(*key)
            if len(content_type) + len(key[1]) <= LONGEST_KEY:
                if len(self._found) >= MOST_TYPES:
                    self._found.clear()
                self._found[key] = load
        return load

    def _assumed(self) -> str:
        return "json" if "json" in self._accept else self._accept[0]

    def _chosen(self, content_type: str, encoding: str) -> Load:
        """Return the function for a content type, or the name of a format, and an encoding."""
        media, charset = _media(content_type)
        name = media if media in self._loads else self._name(media)
        if name and name not in self._accept:
            return _refusal(f"the format {name} is not accepted here, only {', '.join(self._accept)} (option accept)")
        windows: list[int] = []
        for each in filter(None, (part.strip().lower() for part in encoding.split(","))):
            if each in COMPRESSIONS:
                windows.insert(0, COMPRESSIONS[each])
            elif (codec := _codec(each)) is not None:  # AMQP's property holds a charset with kombu
                charset = charset or each
            elif each not in PLAIN:
                if not name:  # a receiver of bytes may know it
                    return bytes
                known = ", ".join(["identity", *COMPRESSIONS])
                return _refusal(f"the content encoding {each[:LONGEST]!r} is unknown; there are {known}")
        if len(windows) > MOST_ENCODINGS:
            return _refusal(f"it has {len(windows)} content encodings; at most {MOST_ENCODINGS} are decoded")
        load = self._loads[name] if name else bytes
        if charset and name in TEXTS:
            if (codec := _codec(charset)) is None:
                return _refusal(f"the charset {charset[:LONGEST]!r} is unknown")
            if codec not in ("utf_8", "ascii"):
                load = _from_charset(codec, load)
        return _decompressing(windows, self._max_bytes, load) if windows else load

    def _name(self, media: str) -> str:
        """Return the name of a media type's format; empty if there is none."""
        name = self._names.get(media)
        if name is None:
            suffix = media.rpartition("+")[2] if "+" in media else ""
            name = suffix if suffix in self._loads else "str" if media.startswith("text/") else ""
        return name if name in self._loads else ""


def _encoding(event: ReceivedEvent) -> str:
    """Return the content encodings of an event, those that were applied first in front."""
    headers = event.headers
    encoding = event.content_encoding or headers.get(ENCODING, "")
    if isinstance(encoding, list):  # the values of a repeated header
        encoding = ",".join(map(str, encoding))
    compression = headers.get(COMPRESSION)
    if isinstance(compression, str) and compression.startswith("application/"):  # kombu's; others have another meaning
        encoding = f"{encoding},{compression}"
    return encoding if isinstance(encoding, str) else repr(encoding)


def _spelled_otherwise(event: ReceivedEvent) -> str:
    """Return the content encoding of an event that has it in a header with capitals or `_`, as some write it."""
    if event.content_encoding or ENCODING in event.headers or COMPRESSION in event.headers:
        return ""
    for name, value in event.headers.items():
        if len(name) == len(ENCODING) and name.lower().replace("_", "-") == ENCODING and isinstance(value, str):
            return value
    return ""


def _media(content_type: str) -> tuple[str, str]:
    """Return the media type of a content type and its charset, in lower case."""
    media, *parameters = content_type.lower().split(";", 10)
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "charset":
            return media.strip(), value.strip().strip("\"'")
    return media.strip(), ""


def _codec(charset: str) -> str | None:
    return CHARSETS.get(charset.replace("-", "_").replace(" ", "_"))


def _refusal(reason: str) -> Load:
    def refuse(raw: bytes) -> Any:
        raise BadBody(reason)

    return refuse


def _text(raw: bytes) -> str:
    return raw.decode()


def _from_charset(codec: str, load: Load) -> Load:
    return lambda raw: load(raw.decode(codec).encode())


def _decompressing(windows: Sequence[int], most: int, load: Load) -> Load:
    def decompress(raw: bytes) -> Any:
        for window in windows:
            raw = inflated(raw, most, window)
        return load(raw)

    return decompress


def inflated(data: bytes, most: int, window: int) -> bytes:
    """Return decompressed data; raises BadBody if it is not whole, or would be more than `most` bytes."""
    made: list[bytes] = []
    left = most
    for _ in range(MOST_MEMBERS):
        part, data = _part(data, left, window)
        left -= len(part)
        if left < 0:
            raise BadBody(f"it is more than {most} bytes when it is decompressed, the profile's max_event_bytes")
        made.append(part)
        if not data:
            return b"".join(made)
    raise BadBody(f"it has more than {MOST_MEMBERS} compressed parts")


def _part(data: bytes, left: int, window: int) -> tuple[bytes, bytes]:
    """Decompress the first part, to `left` bytes and one more; returns it and the data behind it."""
    stream = zlib.decompressobj(window)
    try:
        part = stream.decompress(data, left + 1)
    except zlib.error as error:
        if window == ZLIB:  # some senders of "deflate" leave zlib's header out
            return _part(data, left, RAW)
        raise BadBody(f"it cannot be decompressed: {error}") from None
    if not stream.eof and len(part) <= left:
        raise BadBody("it cannot be decompressed: it is cut short")
    return part, stream.unused_data.lstrip(b"\0")
