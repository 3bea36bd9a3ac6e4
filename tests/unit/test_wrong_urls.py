"""A wrong URL of a connection: nothing of it is shown unless it could be parsed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evbus_like.amqp.settings import target
from evbus_like.engine.errors import ProfileError
from evbus_like.kafka.connection import keywords

SECRET = "hunter2"
NOT_ENCODED = [
    f"amqp://guest:8/{SECRET}@host/",
    f"amqp://guest:{SECRET}/x@host/",
    f"amqp://guest:8?{SECRET}@host/",
    f"amqp://guest:8#{SECRET}@host/",
    f"amqp://guest:8#{SECRET}",
    f"amqp://{SECRET}/x@host/",
    f"amqp://guest:{SECRET}@",
    f"amqp://guest:{SECRET}@host:notaport/",
    f"amqp://guest:{SECRET}@host:99999/",
    f"amqp://guest:{SECRET}@[::1/",
    f"amqp://guest:{SECRET} x@host/",
    f"amqps://guest:8\\{SECRET}/@host/",
    f"guest:{SECRET}@host",
    f"{SECRET}://guest@host",
    f"amqp:/guest:{SECRET}@host",
    f"amqp//guest:{SECRET}@host",
]


@pytest.mark.parametrize("url", NOT_ENCODED)
@pytest.mark.parametrize("form", [lambda url: url, lambda url: {"url": url}], ids=["text", "url"])
def test_a_url_that_cannot_be_parsed_is_refused_without_a_part_of_it(url, form):
    with pytest.raises(ProfileError, match="percent-encode") as caught:
        target({"connection": form(url)})

    assert "connection.url" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "named"), [("heartbeat=10s", "heartbeat"), ("heartbeat=-1", "heartbeat"), ("timeout=x", "timeout")]
)
def test_a_wrong_number_in_a_url_is_named(query, named):
    with pytest.raises(ProfileError, match=f"{named} must be"):
        target({"connection": f"amqp://host/?{query}"})


@pytest.mark.parametrize(
    "host",
    [
        f"amqp://u:{SECRET}@host",
        f"u:{SECRET}@host",
        "host/x",
        "host name",
        "host:5672",
        "10.0.0.1:5672",
        "a:5672",
        "a..b",
    ],
)
def test_a_host_that_is_no_host_is_refused_without_a_part_of_it(host):
    with pytest.raises(ProfileError, match=r"connection\.host") as caught:
        target({"connection": {"host": host}})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "servers",
    [
        f"kafka://u:{SECRET}@host:9092",
        f"u:{SECRET}@host:9092",
        [f"u:{SECRET}@host"],
        "host:port",
        "host:99999",
        "a b:1",
        "a:b:c",
        "1:2:9092",
        ":9092",
        "a:1,",
        "a..b:1",
        "[1]:9092",
        ["a:1,b:1"],
        "",
        [],
    ],
)
def test_a_server_of_kafka_that_is_no_server_is_refused_without_a_part_of_it(servers):
    with pytest.raises(ProfileError, match=r"connection\.bootstrap_servers") as caught:
        keywords({"connection": {"bootstrap_servers": servers}})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ("a:1,", "entry 2 of .* is empty"),
        ("a:1,,b:1", "entry 2 of .* is empty"),
        (["a:1", "b:x"], "entry 2 of .* is no"),
    ],
)
def test_the_wrong_one_of_several_servers_of_kafka_is_named(servers, said):
    with pytest.raises(ProfileError, match=said):
        keywords({"connection": {"bootstrap_servers": servers}})


@pytest.mark.parametrize(
    "servers", ["host", "host:9092", "a:1, b:2", ["a:1", "[::1]:9092"], "10.0.0.1:9092", "2001:db8::1"]
)
def test_the_usual_servers_of_kafka_are_accepted(servers):
    assert keywords({"connection": {"bootstrap_servers": servers}})["bootstrap_servers"] == servers


@given(st.text(max_size=20), st.text(max_size=20))
@example("8/" + SECRET, "")
@example("8", "#" + SECRET)
def test_a_password_that_is_not_percent_encoded_never_becomes_a_part_of_the_address(before, after):
    """Whatever stands between user and host is the password, or the URL is refused."""
    try:
        made = target({"connection": f"amqp://user:{before}{SECRET}{after}@host/"})
        shown = f"{made.place} {made.user} {made.url.host} {made.url.path} {made.url.query_string}"
    except ProfileError as error:
        shown = str(error)
    assert SECRET not in shown
