"""hub/secrets.py: no secret of a profile survives in any text that leaves the bus."""

import copy
import pickle
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evbus_like.hub import secrets

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=6).filter(lambda text: "***" not in text)
NAMES = ["password", "passwd", "sasl_plain_password", "passphrase", "secret", "client_secret", "token", "api_key",
         "apikey", "credentials", "private_key", "Password", "AUTH_TOKEN", "pwd"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_recognised_by_its_name(name):
    assert secrets.find({"connection": {name: "hunter2"}}) == {"hunter2"}


@given(secret=words, before=st.text(), after=st.text())
def test_every_secret_is_removed_from_a_text(secret, before, after):
    assume(secret not in before + after + "***")
    found = secrets.find({"connection": [{"password": secret}]})

    assert secret not in secrets.redact(f"{before}{secret}{after}", found)


@given(password=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4))
def test_the_password_of_a_url_is_removed_encoded_or_not(password):
    encoded = quote(password, safe="")
    url = f"amqp://me:{encoded}@host/"
    found = secrets.find({"connection": url})

    assert (
        secrets.redact(f"at {url}, not {password}, not {encoded}", found) == "at amqp://me:***@host/, not ***, not ***"
    )


@pytest.mark.parametrize("password", ["p@ssw0rd", "a:b@c:d", "pa/ss@word", "tail@"])
def test_a_password_with_url_characters_is_removed_everywhere(password):
    url = f"amqp://me:{password}@host/"

    redacted = secrets.redact(f"cannot connect to {url}", secrets.find({"connection": url}))

    for piece in password.replace(":", "@").replace("/", "@").split("@"):
        assert len(piece) < 2 or piece not in redacted


def test_the_password_of_any_url_is_hidden_even_where_it_belongs_to_no_profile():
    assert (
        secrets.redact("at amqp://me:hunter2@host/ and kafka://x:y@z") == "at amqp://me:***@host/ and kafka://x:***@z"
    )


@pytest.mark.parametrize(
    "data",
    [{"password": 123456}, {"secret": {"deep": ["123456"]}}, {"a": [{"tokens": ("123456",)}]}, {"password": b"123456"}],
    ids=str,
)
def test_secrets_are_found_at_any_depth_and_of_any_type(data):
    found = secrets.find(data)

    assert "123456" not in secrets.redact("it was 123456", found)


@pytest.mark.parametrize("password", ["back\\slash", 'it\'s "quoted"', "tab\there", "ünï\u0301cödé\u200b"])
def test_a_secret_is_hidden_in_a_repr_too(password):
    found = secrets.find({"password": password})

    for text in (str(KeyError(password)), repr({"password": password})):
        redacted = secrets.redact(text, found)
        for form in (password, repr(password)[1:-1]):
            assert form not in redacted


def test_texts_without_a_secret_are_left_alone():
    assert secrets.redact("amqp://host:5672/ refused user@example.com", frozenset({"hunter2"})) == (
        "amqp://host:5672/ refused user@example.com"
    )


def test_a_secret_is_found_in_the_text_the_arguments_and_the_causes():
    found = frozenset({"hunter2"})
    deep = ValueError("outer")
    deep.__cause__ = KeyError("hunter2")

    assert secrets.leaks(ValueError("hunter2"), found)
    assert secrets.leaks(ValueError({"password": "hunter2"}), found)
    assert secrets.leaks(deep, found)
    assert not secrets.leaks(ValueError("fine"), found)


def test_a_circle_of_causes_ends():
    one, two = ValueError("a"), ValueError("b")
    one.__context__, two.__context__ = two, one

    assert not secrets.leaks(one, frozenset({"hunter2"}))


def test_a_hidden_mapping_and_those_in_it_print_without_their_data_whatever_is_done_with_them():
    made = secrets.Hidden({"acct": {"connection": {"password": "hunter2"}}}, profile="p")
    made.later = {"password": "hunter2"}
    made.update(more={"password": "hunter2"})
    parts = [made, made.acct, made.acct.connection, made.later, made.more]
    parts += [copy.copy(made).acct, copy.deepcopy(made).acct.connection, pickle.loads(pickle.dumps(made)).acct]
    parts += [made.pop("acct")]

    assert made == {"profile": "p", "later": {"password": "hunter2"}, "more": {"password": "hunter2"}}
    assert made.pop("acct", None) is None
    for part in parts:
        assert isinstance(part, dict)
        assert "hunter2" not in f"{part!r} {part}"
