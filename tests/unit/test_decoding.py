"""hub/decoding.py: the format, the encoding and the bounds of a received body are decided in one place."""

import contextlib
import datetime
import gzip
import json
import random
import tracemalloc
import zlib
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.hub import decoding
from evbus_like.testing.running import new_hub

ALL = ("json", "msgpack", "yaml", "str")
BODY = {"name": "é", "id": 7}
JSON = orjson.dumps(BODY)


@pytest.fixture(scope="module")
def hub() -> Any:
    return new_hub()


def decoded(
    hub: Any, raw: bytes, content_type: str = "", encoding: str = "", headers: Any = None, **options: Any
) -> Any:
    event = ReceivedEvent(raw, "placed", headers=headers, content_type=content_type, content_encoding=encoding)
    return decoding.decoder(hub, **options)(event)


def reason(hub: Any, raw: bytes, content_type: str = "", encoding: str = "", **options: Any) -> str:
    with pytest.raises(BadBody) as caught:
        decoded(hub, raw, content_type, encoding, **options)
    assert type(caught.value) is BadBody
    return str(caught.value)


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            ' application/json ; Charset="UTF-8"',
        ),
        *("text/json", "application/x-json", "application/vnd.shop+json", "application/VND.shop+JSON;v=1", "json"),
        *("application/vnd.shop+json; charset=us-ascii", "text/vnd.x+json"),
    ],
)
def test_json_is_known_by_every_name_that_it_has(hub: Any, content_type: str) -> None:
    assert decoded(hub, b'{"id": 7}', content_type) == {"id": 7}


@pytest.mark.parametrize(
    ("content_type", "raw"),
    [
        *((each, msgpack.packb(BODY)) for each in ("application/msgpack", "application/x-msgpack")),
        *((each, msgpack.packb(BODY)) for each in ("application/vnd.msgpack", "application/vnd.a+msgpack")),
        *((each, "{name: é, id: 7}".encode()) for each in ("application/yaml", "application/x-yaml", "text/yaml")),
        *((each, "{name: é, id: 7}".encode()) for each in ("text/x-yaml; charset=utf-8", "application/vnd.a+yaml")),
    ],
)
def test_msgpack_and_yaml_are_known_by_every_name_that_they_have(hub: Any, content_type: str, raw: bytes) -> None:
    assert decoded(hub, raw, content_type, accept=ALL) == BODY


@pytest.mark.parametrize(
    "content_type", ["", "image/png", "application/octet-stream", "application/xml", "nonsense", ";"]
)
def test_a_body_of_no_known_content_type_stays_bytes(hub: Any, content_type: str) -> None:
    assert decoded(hub, b"{}", content_type) == b"{}"


def test_text_of_every_kind_is_text_in_its_charset(hub: Any) -> None:
    assert decoded(hub, "é".encode(), "text/csv") == "é"
    assert decoded(hub, "é".encode("latin-1"), "text/plain; charset=ISO-8859-1") == "é"
    assert decoded(hub, "é".encode("cp1252"), "text/plain", "windows-1252") == "é"
    assert decoded(hub, JSON.decode().encode("utf-16"), "application/json; charset=utf-16") == BODY
    assert decoded(hub, JSON.decode().encode("latin-1"), "application/json;charset=latin-1") == BODY
    assert "UnicodeDecodeError" in reason(hub, b"\xff", "text/plain")
    for charset in ("klingon", "idna", "punycode", "unicode_escape", "rot13", "base64", "zlib", "os.path", "x" * 500):
        assert "is unknown" in reason(hub, b"abc", f"text/plain; charset={charset}")


def test_a_byte_order_mark_in_front_of_json_is_ignored(hub: Any) -> None:
    assert decoded(hub, b"\xef\xbb\xbf" + JSON, "application/json") == BODY


def test_handlers_accept_all_shipped_formats_but_yaml(hub: Any) -> None:
    assert reason(hub, b"a: 1", "application/yaml") == (
        "the format yaml is not accepted here, only json, msgpack, str (option accept)"
    )
    assert decoded(hub, b"a: 1", "application/yaml", accept=("yaml",)) == {"a": 1}
    assert "only json (option accept)" in reason(hub, msgpack.packb(1), "application/x-msgpack", accept=("json",))
    assert "the format str is not" in reason(hub, b"a", "text/html", accept=("json",))


def test_the_default_format_is_for_bodies_without_a_content_type_alone(hub: Any) -> None:
    assert decoded(hub, JSON, default_format="json") == BODY
    assert decoded(hub, b"a: 1", default_format="yaml") == {"a": 1}
    assert decoded(hub, JSON, "image/png", default_format="json") == JSON
    assert decoded(hub, gzip.compress(JSON), "", "gzip", default_format="json") == BODY


def test_a_declared_event_without_a_content_type_is_json(hub: Any) -> None:
    assert decoded(hub, JSON, declared={"placed"}) == BODY
    assert decoded(hub, msgpack.packb(BODY), declared={"placed"}, accept=("msgpack",)) == BODY
    assert decoded(hub, JSON, declared={"other"}) == JSON


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("gzip", gzip.compress(JSON, mtime=0)),
        ("GZIP", gzip.compress(JSON, mtime=0)),
        (" x-gzip ", gzip.compress(JSON[:3], mtime=0) + gzip.compress(JSON[3:], mtime=0) + b"\0\0"),
        ("deflate", zlib.compress(JSON)),
        ("deflate", zlib.compress(JSON, wbits=-15)),
        ("gzip, deflate", zlib.compress(gzip.compress(JSON, mtime=0))),
        ("identity", JSON),
        ("utf-8", JSON),
        ("UTF8, gzip", gzip.compress(JSON, mtime=0)),
        ("binary", JSON),
    ],
)
def test_compressed_bodies_are_decoded(hub: Any, encoding: str, raw: bytes) -> None:
    assert decoded(hub, raw, "application/json", encoding) == BODY
    assert decoded(hub, raw, "application/json", headers={"content-encoding": encoding}) == BODY


def test_kombu_s_header_for_compression_is_understood(hub: Any) -> None:
    headers = {"compression": "application/x-gzip"}
    assert decoded(hub, zlib.compress(JSON), "application/json", "utf-8", headers) == BODY
    assert decoded(hub, JSON, "application/json", "utf-8", {"compression": "high"}) == BODY
    with pytest.raises(BadBody, match="'application/x-bz2' is unknown"):
        decoded(hub, JSON, "application/json", "utf-8", {"compression": "application/x-bz2"})


def test_a_repeated_header_names_several_encodings(hub: Any) -> None:
    raw = gzip.compress(gzip.compress(JSON))
    assert decoded(hub, raw, "application/json", headers={"content-encoding": ["gzip", "gzip"]}) == BODY


@pytest.mark.parametrize("name", ["Content-Encoding", "CONTENT-ENCODING", "content_encoding"])
def test_a_content_encoding_in_a_header_that_is_spelled_otherwise_is_understood(hub: Any, name: str) -> None:
    raw = gzip.compress(JSON, mtime=0)
    assert decoded(hub, raw, "application/json", headers={name: "gzip"}) == BODY
    with pytest.raises(BadBody, match="the content encoding 'zstd' is unknown; there are identity"):
        decoded(hub, b"(\xb5/\xfd", "application/json", headers={name: "zstd"})
    with pytest.raises(BadBody, match="cut short"):
        decoded(hub, raw[:-9], "application/json", headers={name: "gzip"})
    assert decoded(hub, JSON, "application/json", headers={name: "zstd"}) == BODY  # it is not compressed


def test_an_unknown_content_encoding_is_named(hub: Any) -> None:
    assert reason(hub, b"x", "application/json", "br").startswith(
        "the content encoding 'br' is unknown; there are identity"
    )
    assert len(reason(hub, b"x", "application/json", "b" * 10_000)) < 400
    assert decoded(hub, b"x", "image/png", "br") == b"x"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        gzip.compress(JSON, mtime=0)[:-9],
        gzip.compress(JSON, mtime=0) + b"rest",
        gzip.compress(b"", mtime=0) * 200,
    ],
)
def test_what_is_not_whole_gzip_is_refused(hub: Any, raw: bytes) -> None:
    assert "compressed" in reason(hub, raw, "application/json", "gzip")


def test_a_body_that_grows_without_end_is_given_up_at_max_event_bytes(hub: Any) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 50_000_000))
    tracemalloc.start()
    try:
        text = reason(hub, bomb, "application/json", "gzip, gzip", max_bytes=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == "it is more than 1000000 bytes when it is decompressed, the profile's max_event_bytes"
    assert peak < 10_000_000
    assert decoded(hub, gzip.compress(b"[%s1]" % (b" " * 997)), "application/json", "gzip", max_bytes=1000) == [1]
    assert "more than 999 bytes" in reason(hub, gzip.compress(b"1" * 1000), "application/json", "gzip", max_bytes=999)
    assert "at most 4" in reason(hub, bomb, "application/json", ",".join(["gzip"] * 5))


INTS = [2**64, -(2**63) - 1, 10**19 * 2, 10**25, -(10**30)]


@pytest.mark.parametrize("number", INTS)
def test_an_int_beyond_64_bits_is_refused_and_never_becomes_a_float(hub: Any, number: int) -> None:
    for text in (f"{number}", f'{{"a": [1, {number}]}}', f'["{"x" * 5000}\\"", {number}]'):
        assert "an int beyond 64 bits" in reason(hub, text.encode(), "application/json")
        assert "an int beyond 64 bits" in reason(hub, text.encode(), "application/yaml", accept=ALL)


TINY = [
    "1E-400",
    "-1e-0400",
    "1.5e-999999999999999999999",
    "2e-324",
    f"0.{'0' * 400}1",
    f"-0.{'0' * 300}12e-25",
    "1e400",
]


@pytest.mark.parametrize("number", TINY)
def test_a_float_beyond_64_bits_is_refused_and_becomes_neither_0_nor_infinity(hub: Any, number: str) -> None:
    for text in (number, f'{{"a-b": [1, {number}]}}', f'["{"x-1" * 5000}\\"", {number}]'):
        assert reason(hub, text.encode(), "application/json")


@pytest.mark.parametrize("text", ["0e-400", "-0.000E-999", "0.0", f"0.{'0' * 400}", "5e-324", "3e-324", '"1e-400"'])
def test_a_small_number_that_a_float_has_and_text_are_read(hub: Any, text: str) -> None:
    assert decoded(hub, f"[{text}]".encode(), "application/json") == json.loads(f"[{text}]")


def test_other_long_numbers_keep_their_value(hub: Any) -> None:
    fine = [2**64 - 1, -(2**63), 12345678901234567890.5, 0.12345678901234567890, 1e25, str(2**70), [f'"{2**70}, ']]
    assert decoded(hub, orjson.dumps(fine), "application/json") == fine
    assert decoded(hub, b"[123456789012345678901e5, 1E-00000000000000000000007]", "application/json") == [
        123456789012345678901e5,
        1e-7,
    ]
    for text in (b"1e999", b"-1e999", b"NaN", b"Infinity", b"1" * 5000):
        reason(hub, text, "application/json")


@given(st.integers(-(2**66), 2**66), st.integers(0, 5000), st.integers(0, 30))
def test_every_int_of_json_is_exact_or_refused(number: int, before: int, nested: int) -> None:
    hub = new_hub_once()
    raw = b"[" * nested + b'["' + b"1," * before + b'",' + str(number).encode() + b"]" + b"]" * nested
    try:
        value = decoded(hub, raw, "application/json")
    except BadBody:
        assert not -(2**63) <= number < 2**64
        return
    for _ in range(nested):
        (value,) = value
    assert value[1] == number
    assert type(value[1]) is int


def test_a_msgpack_timestamp_is_an_aware_datetime_and_other_extensions_are_named(hub: Any) -> None:
    moment = datetime.datetime(2026, 1, 31, 12, 0, 0, 500, datetime.UTC)
    assert decoded(hub, msgpack.packb(moment, datetime=True), "application/msgpack") == moment
    assert "extension type 5" in reason(hub, msgpack.packb(msgpack.ExtType(5, b"x")), "application/msgpack")
    for broken in (
        b"\xc7\x0c\xff" + b"\0\0\0\1" + b"\x7f" + b"\xff" * 7,
        b"\xc7\x05\xff" + b"\0" * 5,
        b"\xd7\xff" + b"\xff" * 8,
    ):
        reason(hub, broken, "application/msgpack")


FEW = 20_000
MANY = {
    "empty arrays of msgpack": ("msgpack", b"\xdd\x00\x03\xff\xff" + b"\x90" * 0x3FFFF),
    "unfinished arrays of msgpack": ("msgpack", (b"\xdc\x4c\x00" + b"\xa2ab" * 0x4BFF) * 30),
    "ints of msgpack": ("msgpack", (b"\xdc\x4c\x00" + b"\xcd\x04\x00" * 0x4BFF) * 30),
    "a huge array that is not there": ("msgpack", (b"\xdd\x7f\xff\xff\xff" + b"\xc0" * 10) * 600),
    "empty arrays of json": ("json", b"[" + b"[]," * 100_000 + b"[]]"),
    "keys of json": ("json", b'{"":{},' * 30_000),
    "strings of json": ("json", b"[" + b'"",' * 100_000 + b"1]"),
    "quotes without an end": ("json", b'["' + b'\\"' * 100_000 + b"," * 10_000),
    "ints of json": ("json", b"[" + b"1," * 100_000 + b"1]"),
    "empty sequences of yaml": ("yaml", b"[" + b"[]," * 100_000 + b"[]]"),
}


@pytest.fixture(scope="module")
def strict() -> Any:
    """A hub whose bodies have few elements."""
    hub = new_hub()
    hub.OPT = {"evbus_like": {"max_body_elements": FEW}}
    return hub


@pytest.mark.parametrize("name", MANY)
def test_too_many_elements_are_refused_before_they_are_made(strict: Any, name: str) -> None:
    accept, raw = MANY[name]
    tracemalloc.start()
    try:
        text = reason(strict, raw, f"application/{accept}", accept=(accept,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "keys and values" in text or "exceeds" in text or "Decode" in text
    assert peak < 14 * len(raw) + 1_000_000  # orjson asks for 12 times the body, and touches what it needs


def test_the_most_elements_are_a_setting(hub: Any, strict: Any) -> None:
    body = list(range(FEW + 100))
    for name, dump in (("json", orjson.dumps), ("msgpack", msgpack.packb)):
        assert decoded(hub, dump(body), f"application/{name}") == body
        assert decoded(strict, dump(body[: FEW - 10]), f"application/{name}") == body[: FEW - 10]
        assert "more than 20000 keys and values; the setting max_body_elements" in reason(
            strict, dump(body), f"application/{name}"
        )


def test_text_that_looks_like_many_elements_is_not_counted(strict: Any) -> None:
    body = {"text": ',:[{\\",' * 8000, "more": [{"a": "]"}]}
    assert decoded(strict, orjson.dumps(body), "application/json") == body


@pytest.mark.parametrize("name", ["json", "msgpack", "yaml"])
@pytest.mark.parametrize("depth", [2000, 100_000])
def test_deep_nesting_is_refused(hub: Any, name: str, depth: int) -> None:
    raw = b"\x91" * depth + b"\x01" if name == "msgpack" else b"[" * depth + b"]" * depth
    assert reason(hub, raw, f"application/{name}", accept=ALL).rpartition(": ")[2]


@pytest.mark.parametrize(
    ("raw", "start"),
    [(b"\xff\xfe\x00", 0), (b'{"a": "\xe4"}', 7), (gzip.compress(JSON, mtime=0), 1), (b"\xef\xbb\xbf\xff", 3)],
)
def test_json_that_is_not_utf_8_is_refused_in_words_that_name_the_place(hub: Any, raw: bytes, start: int) -> None:
    found = reason(hub, raw, "application/json")
    assert f"it is not UTF-8 text, from byte {start} on; its sender should name the charset" in found


@pytest.mark.parametrize("raw", [b"\x81\x90\x01", b"\x81\x80\x01", b"\x91\x81\x91\x01\x02"])
def test_a_map_of_msgpack_whose_key_python_cannot_have_is_refused_in_words(hub: Any, raw: bytes) -> None:
    assert "a map of the body has a list or a map as a key" in reason(hub, raw, "application/msgpack")


def test_what_is_no_msgpack_is_refused_in_words(hub: Any) -> None:
    assert "not valid msgpack" in reason(hub, b"\xc1", "application/msgpack")


hubs: list[Any] = []


def new_hub_once() -> Any:
    if not hubs:
        hubs.append(new_hub())
    return hubs[0]


CONTENT_TYPES = st.one_of(
    st.sampled_from(["", "application/json", "application/msgpack", "application/yaml", "text/plain", "a/b+json"]),
    st.builds(
        "{}; charset={}".format, st.sampled_from(["application/json", "text/x", "text/yaml"]), st.text(max_size=8)
    ),
    st.sampled_from(sorted(decoding.CHARSETS)).map("text/plain;charset={}".format),
    st.text(max_size=30),
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-encoding", "compression", "x"]),
    st.none()
    | st.integers()
    | st.binary(max_size=5)
    | st.text(max_size=5)
    | st.sampled_from(["gzip", "utf-8"])
    | st.lists(st.text()),
)
RAW = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(gzip.compress),
    st.text('[]{},:"0123456789eE+-.\\ \n\ttruefalsn&*!|>%@', max_size=200).map(str.encode),
    st.recursive(st.integers() | st.floats() | st.text(), st.lists).map(
        lambda body: repr(body).encode("utf-8", "ignore")
    ),
)


@settings(max_examples=5 * settings().max_examples)
@given(
    RAW,
    CONTENT_TYPES,
    st.sampled_from(["", "gzip", "deflate", "utf-16", "br", "gzip,gzip"]) | st.text(max_size=9),
    HEADERS,
)
@example(b"\xff\xfe", "application/json;charset=utf-16", "", {})
@example(b"", "application/json", "\ud800", {"content-encoding": "\ud800"})
def test_any_body_gives_a_value_or_one_class_of_error(
    raw: bytes, content_type: str, encoding: str, headers: Any
) -> None:
    hub = new_hub_once()
    for options in ({"accept": ALL}, {}, {"accept": ("json",), "default_format": "json"}):
        refusal = ""
        try:
            decoded(hub, raw, content_type, encoding, headers, **options)
        except BadBody as error:
            refusal = str(error)
        assert refusal.encode() is not None  # a lone surrogate could not be a header
        assert len(refusal) < 700


@pytest.mark.parametrize("content_type", [None, b"application/json", 7, ["a"]])
def test_a_content_type_that_a_plugin_gives_in_another_type_is_no_other_error(hub: Any, content_type: Any) -> None:
    with contextlib.suppress(BadBody):
        assert decoded(hub, JSON, content_type) == JSON


def test_the_memory_of_names_that_senders_make_up_is_bounded(hub: Any) -> None:
    decode = decoding.decoder(hub)
    for _ in range(3 * decoding.MOST_TYPES):
        decode(ReceivedEvent(b"", content_type=f"image/{random.random()}"))
    decode(ReceivedEvent(b"", content_type=f"image/{'x' * 1_000_000}"))
    found: Any = decode.__self__._found  # type: ignore[attr-defined]
    assert len(found) <= decoding.MOST_TYPES
    assert max(len(content_type) for content_type, _ in found) < 1000
