"""Load YAML that anybody may have written: the one loader for bodies and for files.

It builds plain values from the parser's events, and counts while it does so: nothing is made beyond the bounds. It
differs from PyYAML's SafeLoader in what it refuses (tags of objects, duplicate keys, ints beyond 64 bits, directives),
and in numbers of base 60: `1:30` is text, as in YAML 1.2.
"""

from __future__ import annotations

import base64
import datetime
import functools
import re
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

from evbus_like.engine.values import MAX_DEPTH, MAX_INT, MIN_INT, exact_float

MAX_ELEMENTS = 100_000  # keys and values, those of aliases counted each time
MOST_DIGITS = 80  # of a number: an int of 64 bits has 65 in base 2
TAG = "tag:yaml.org,2002:"
SHOWN_KEY = re.compile(r"[\w.*/-]{1,80}")  # other keys may be `password:SECRET` without the space
NUMBER = frozenset("+-.0123456789")
INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
OCTAL = re.compile(r"[-+]?0[0-9_]+")
FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)"
    r"(?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d{0,9})\d{0,9})?(?:[ \t]*(?:(Z)|([-+])(\d\d?)(?::(\d\d))?))?)?",
    re.ASCII,
)
BOOLS = {
    form: value
    for word, value in {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}.items()
    for form in (word, word.title(), word.upper())
}
NULLS = frozenset(("", "~", "null", "Null", "NULL"))
WORDS: dict[str, Any] = {**BOOLS, **dict.fromkeys(NULLS)}


class YamlError(ValueError):
    """Text that is no YAML, or YAML that is refused; its message quotes no value."""


def load_yaml(
    text: str | bytes,
    source: str,
    *,
    aliases: bool = True,
    text_keys: bool = True,
    octal: bool = True,
    max_elements: int = MAX_ELEMENTS,
) -> Any:
    """Return the value of a YAML document, None for an empty one; raises YamlError, which names source and line.

    `aliases=False` refuses aliases. `text_keys` refuses keys that YAML reads as something other than text, such as
    `no:` and `1.10:`. `octal=False` refuses `010`, which YAML reads as 8 and people write for 10. `max_elements` bounds
    the keys and values.
    """
    import yaml  # slow to import, and few events are YAML

    try:
        decoded = _decoded(text)
        if re.search(r"^%TAG", decoded, re.MULTILINE):  # libyaml compares each with all others
            raise YamlError(f"{source} has a %TAG directive, which is refused")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(decoded)
        try:
            return _Builder(loader, source, aliases, text_keys, octal, max_elements).document()
        finally:
            loader.dispose()
    except UnicodeError as error:
        raise YamlError(f"{source} is not valid {getattr(error, 'encoding', 'Unicode')} text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise YamlError(f"{source} is not valid YAML{place}") from None  # the parser's own text may quote the line
    except yaml.YAMLError:
        raise YamlError(f"{source} is not valid YAML: it has a control character") from None


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        text.encode()  # a lone surrogate
        return text.removeprefix("\ufeff")
    return text.decode("utf-16" if text.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


class _Builder:
    """Builds the value of one document from the parser's events."""

    def __init__(
        self, loader: Any, source: str, aliases: bool, text_keys: bool, octal: bool, max_elements: int
    ) -> None:
        self._next: Callable[[], Any] = loader.get_event
        self._source = source
        self._aliases = aliases
        self._text_keys = text_keys
        self._octal = octal
        self._left = self._max = max_elements
        self._anchors: dict[str, tuple[Any, int]] = {}  # the values, and the number of their elements
        self._kinds: dict[str, Callable[[Any, int], Any]] = {
            "ScalarEvent": self._scalar,
            "SequenceStartEvent": self._sequence,
            "MappingStartEvent": self._mapping,
            "AliasEvent": self._alias,
        }

    def document(self) -> Any:
        """Return the value of the one document."""
        self._next()  # the stream's start
        first = self._next()
        if type(first).__name__ == "StreamEndEvent":
            return None
        value = self._value(self._next(), 0)
        self._next()  # the document's end
        last = self._next()
        if type(last).__name__ != "StreamEndEvent":
            self._refuse(last, "a second document begins")
        return value

    def _refuse(self, event: Any, what: str) -> NoReturn:
        mark = event.start_mark
        raise YamlError(f"{self._source}, line {mark.line + 1}, column {mark.column + 1}: {what}")

    def _value(self, event: Any, depth: int) -> Any:
        before = self._left
        self._left -= 1
        if self._left < 0:
            self._refuse(event, f"there are more than {self._max} keys and values")
        if depth > MAX_DEPTH:
            self._refuse(event, f"it is nested deeper than {MAX_DEPTH} levels")
        value = self._kinds[type(event).__name__](event, depth)
        anchor = event.anchor
        if anchor is not None and self._aliases:
            self._anchors[anchor] = value, before - self._left
        return value

    def _alias(self, event: Any, _depth: int) -> Any:
        if not self._aliases:
            self._refuse(event, "aliases are refused: a few lines of them can fill the memory")
        if event.anchor not in self._anchors:  # also within its own value
            self._refuse(event, "an alias names no value above it")
        value, elements = self._anchors[event.anchor]
        self._left -= elements
        return value

    def _sequence(self, event: Any, depth: int) -> list[Any]:
        if event.tag not in (None, "!", f"{TAG}seq"):
            self._refuse_tag(event)
        items: list[Any] = []
        while type(event := self._next()).__name__ != "SequenceEndEvent":
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, event: Any, depth: int) -> dict[Any, Any]:
        if event.tag not in (None, "!", f"{TAG}map"):
            self._refuse_tag(event)
        made: dict[Any, Any] = {}
        merged: list[dict[Any, Any]] = []
        while type(event := self._next()).__name__ != "MappingEndEvent":
            if type(event).__name__ == "ScalarEvent" and event.value == "<<" and event.implicit[0]:
                merged += self._merged(self._next(), depth)
                continue
            key = self._value(event, depth + 1)
            if self._text_keys and not isinstance(key, str):
                read = f"{event.value!r} as {type(key).__name__}" if hasattr(event, "value") else "a collection"
                self._refuse(event, f"a key must be text, and YAML reads {read}: write it in quotes")
            if not isinstance(key, Hashable):
                self._refuse(event, "a key is a collection")
            if key in made:
                shown = f" {key!r}" if SHOWN_KEY.fullmatch(str(key)) else ""
                self._refuse(event, f"the key{shown} is there twice")
            made[key] = self._value(self._next(), depth + 1)
        for each in merged:
            made = {**each, **made}
        return made

    def _merged(self, event: Any, depth: int) -> list[dict[Any, Any]]:
        """Return the mappings of a merge key, those that win first."""
        value = self._value(event, depth + 1)
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in found):
            self._refuse(event, "a merge key (<<) must hold a mapping, or a list of mappings")
        return found

    def _refuse_tag(self, event: Any) -> NoReturn:
        name = event.tag.removeprefix(TAG)
        self._refuse(event, f"a tag is refused{f' (!!{name})' if SHOWN_KEY.fullmatch(name) else ''}")

    def _scalar(self, event: Any, _depth: int) -> Any:
        text: str = event.value
        tag = event.tag
        if tag is None or tag == "!":
            if not event.implicit[0] or tag == "!":
                return text
            if text in WORDS:
                return WORDS[text]
            if text[0] not in NUMBER:
                return text
            if not self._octal and OCTAL.fullmatch(text):
                self._refuse(event, "a number begins with 0, and YAML reads it as octal: leave out the 0, or quote it")
        elif tag == f"{TAG}str":
            return text
        try:
            if tag is None:
                return _number(text)
            make = TAGGED.get(tag)
            return self._refuse_tag(event) if make is None else make(text)
        except YamlError:
            raise
        except (ValueError, LookupError, OverflowError) as error:
            return self._refuse(event, str(error) if isinstance(error, _Refused) else f"no valid {_kind(tag)}")


class _Refused(ValueError):
    """A value that is refused; the text quotes nothing."""


def _kind(tag: str | None) -> str:
    return tag.removeprefix(TAG) if tag else "number or time"


def _number(text: str) -> Any:
    """Return the number or the time that a plain scalar is, or the text itself."""
    if INT.fullmatch(text):
        return _int(text)
    if FLOAT.fullmatch(text) or INFINITE.fullmatch(text):
        return _float(text)
    return _time(text) if TIME.fullmatch(text) else text


def _int(text: str) -> int:
    plain = text.replace("_", "")
    if len(plain) > MOST_DIGITS:
        raise _Refused("an int beyond 64 bits")
    digits = plain.lstrip("+-")
    base = 10 if digits == "0" or digits[:1] != "0" else {"b": 2, "x": 16}.get(digits[1], 8)
    value = int(plain, base)
    if not MIN_INT <= value <= MAX_INT:
        raise _Refused("an int beyond 64 bits")
    return value


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    if INFINITE.fullmatch(text):
        return float(plain.replace(".", "", 1))
    try:
        return exact_float(plain)
    except ValueError as error:
        raise _Refused(str(error)) from None


def _time(text: str) -> datetime.date:
    found = TIME.fullmatch(text)
    if found is None:
        raise _Refused("no valid timestamp")
    year, month, day, hour, minute, second, fraction, utc, sign, hours, minutes = found.groups()
    if hour is None:
        return datetime.date(int(year), int(month), int(day))
    zone: datetime.timezone | None = datetime.UTC if utc else None
    if sign:
        offset = datetime.timedelta(hours=int(hours), minutes=int(minutes or 0))
        zone = datetime.timezone(-offset if sign == "-" else offset)
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    return datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micro, zone)


def _binary(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


TAGGED: dict[str, Callable[[str], Any]] = {
    f"{TAG}int": _int,
    f"{TAG}float": lambda text: float(_int(text)) if INT.fullmatch(text) else _float(text),
    f"{TAG}bool": BOOLS.__getitem__,
    f"{TAG}null": functools.partial(dict.__getitem__, dict.fromkeys(NULLS)),
    f"{TAG}timestamp": _time,
    f"{TAG}binary": _binary,
}
