"""monitor/address.py: [HOST:]PORT, and who may read it."""

import pytest

from evbus_like.engine.errors import SettingError
from evbus_like.monitor import ask
from evbus_like.monitor.address import Access, Address, parse

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9464", "127.0.0.1", 9464),
        ("0", "127.0.0.1", 0),
        ("localhost:80", "localhost", 80),
        ("0.0.0.0:9464", "0.0.0.0", 9464),
        ("[::1]:9464", "::1", 9464),
        (" 9464 ", "127.0.0.1", 9464),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text, host, port):
    assert parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "x", "65536", "-1", "host", "::1:80", "a b:80", "http://h:80", "h:", "9464.0"])
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(SettingError, match=r"PORT or HOST:PORT, such as 9464"):
        parse(text)


@pytest.mark.parametrize("text", ["9464", "127.0.0.2:1", "localhost:1", "[::1]:1"])
def test_a_port_for_this_machine_needs_no_token(text):
    Access(parse(text)).check(open_to_all=False)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1"])
def test_a_port_for_others_needs_a_token_or_to_be_open(text):
    with pytest.raises(SettingError, match="EVBUS_HTTP_TOKEN"):
        Access(parse(text)).check(open_to_all=False)
    Access(parse(text)).check(open_to_all=True)
    Access(parse(text), TOKEN).check(open_to_all=False)


@pytest.mark.parametrize(
    "token", ["short", "with a space in it", "ümlautümlautümlaut", "a-line-of-a-secret-file\n", "a\ttab-of-a-secret"]
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused_and_not_shown(token):
    with pytest.raises(SettingError, match="http_token must") as refused:
        Access(parse("1"), token).check(open_to_all=False)
    assert token not in str(refused.value)
    assert token not in repr(Access(parse("1"), token))


def test_bytes_that_are_no_text_are_a_wrong_token():
    assert not Access(parse("1"), "a" * 16).allows("Bearer \udcff")


async def test_a_token_that_cannot_be_sent_is_an_error_that_does_not_show_it():
    with pytest.raises(SettingError) as refused:
        await ask.by_port(parse("1"), "s3cret-s3cret-s3cret\n", 1.0)
    assert "s3cret" not in str(refused.value)


def test_only_the_whole_token_is_right():
    access = Access(parse("1"), TOKEN)

    assert access.allows(f"Bearer {TOKEN}")
    assert access.allows(f"bearer  {TOKEN}")
    for wrong in ("", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Basic {TOKEN}", "Bearer é"):
        assert not access.allows(wrong), wrong


def test_a_local_port_without_a_token_answers_no_other_name_of_this_machine():
    access = Access(parse("9464"))

    for host in ("localhost:9464", "127.0.0.1:9464", "127.0.0.1", "[::1]:9464"):
        assert access.knows(host), host
    for host in ("evil.example:9464", "", "10.0.0.1"):
        assert not access.knows(host), host
    assert Access(parse("9464"), TOKEN).knows("evil.example")
