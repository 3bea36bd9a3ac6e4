"""engine/host_names.py: what can be the name or the address of a host."""

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.host_names import HostAndPort, host_and_port, is_host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rabbit1", HostAndPort("rabbit1", None)),
        ("rabbit_1.example.com.:5672", HostAndPort("rabbit_1.example.com.", 5672)),
        ("10.0.0.1:5672", HostAndPort("10.0.0.1", 5672)),
        ("[::1]", HostAndPort("::1", None)),
        ("[2001:db8::1]:5672", HostAndPort("2001:db8::1", 5672)),
        ("müller.example", HostAndPort("müller.example", None)),
    ],
)
def test_a_host_and_its_port_are_split(text, expected):
    assert host_and_port(text) == expected
    assert is_host(expected.host)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "a:", "a:b", "a b", "a,b", "a/b", "a@b", "::1", "[1]", "[a]", "[::1", "a..b", ".", "a" * 64, "a:1:2"],
)
def test_what_is_no_host_is_not_split(text):
    assert host_and_port(text) is None


@given(st.text(alphabet="ab1.-_:[]äß\x00 ", max_size=70))
def test_a_name_service_can_be_asked_for_every_host(text):
    split = host_and_port(text)
    if split is not None and ":" not in split.host:
        with suppress(OSError):  # it is no number; a UnicodeError would be a bug
            socket.getaddrinfo(split.host, None, flags=socket.AI_NUMERICHOST)  # asks nobody
