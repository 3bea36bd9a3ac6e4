"""hub/profiles/credentials.py: a file becomes contexts, or an error that says what to do and shows no secret."""

import os
import warnings

import msgpack
import pytest
import yaml
from cryptography.fernet import Fernet

from evbus_like.engine.errors import CredentialsError


@pytest.fixture
def write(tmp_path):
    """Write a credentials file and give its path."""

    def write(data, mode=0o600):
        path = tmp_path / "credentials.yaml"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)
        return str(path)

    return write


def plain(contexts):
    """The contexts as builtins."""
    return {
        provider: [{name: info and dict(info) for name, info in p.items()} for p in ps]
        for provider, ps in contexts.items()
    }


async def refused(hub, path, key=None, **kwargs):
    with pytest.raises(CredentialsError) as caught:
        await hub.evbus.acct.profiles(acct_file=path, acct_key=key, **kwargs)
    return str(caught.value)


async def test_a_plain_file_gives_a_list_of_profiles_for_each_provider(hub, write):
    path = write("internal:\n  a: {routing_key: x}\n  b:\namqp:\n  - c: {exchange: e}\n  - d: {}\n")

    contexts = await hub.evbus.acct.profiles(acct_file=path)

    assert plain(contexts) == {
        "internal": [{"a": {"routing_key": "x"}}, {"b": None}],
        "amqp": [{"c": {"exchange": "e"}}, {"d": {}}],
    }


async def test_data_overrides_the_file_and_without_both_there_are_no_profiles(hub, write):
    contexts = await hub.evbus.acct.profiles(acct_file=write("internal: {a: }"), acct_data={"kafka": {"b": {}}})

    assert plain(contexts) == {"kafka": [{"b": {}}]}
    assert plain(await hub.evbus.acct.profiles(acct_file=None, acct_key=None)) == {}


@pytest.mark.parametrize("alias", ["amqp", "pika", "rabbitmq", "kafka", "internal"])
async def test_every_alias_of_a_provider_is_kept(hub, alias):
    assert plain(await hub.evbus.acct.profiles(acct_data={alias: {"a": {}}})) == {alias: [{"a": {}}]}


async def test_an_unknown_provider_is_named_and_the_others_are_used(hub, caplog):
    contexts = await hub.evbus.acct.profiles(
        acct_data={"kafak": {"a": {"password": "hunter2"}}, "internal": {"b": None}}
    )

    assert plain(contexts) == {"internal": [{"b": None}]}
    assert "no ingress plugin takes the provider 'kafak'" in caplog.text
    assert "did you mean 'kafka'?" in caplog.text
    assert "hunter2" not in caplog.text


async def test_contexts_show_no_data_when_printed(hub):
    contexts = await hub.evbus.acct.profiles(acct_data={"amqp": {"a": {"connection": {"password": "hunter2"}}}})

    assert "hunter2" not in f"{contexts} {contexts!r}"


async def test_an_encrypted_file_opens_with_its_key(hub, write):
    key = Fernet.generate_key()
    path = write(Fernet(key).encrypt(msgpack.packb({"internal": {"a": {"routing_key": "x"}}})))

    contexts = await hub.evbus.acct.profiles(acct_file=path, acct_key=key.decode())

    assert plain(contexts)["internal"] == [{"a": {"routing_key": "x"}}]


async def test_the_error_about_an_encrypted_file_without_a_key_asks_for_one(hub, write):
    path = write(Fernet(Fernet.generate_key()).encrypt(b"{}"))

    assert "is encrypted and no key was given: --acct-key or ACCT_KEY" in await refused(hub, path)


async def test_a_wrong_key_and_an_invalid_key_are_reported(hub, write):
    path = write(Fernet(Fernet.generate_key()).encrypt(b"{}"))

    assert "cannot be decrypted" in await refused(hub, path, Fernet.generate_key().decode())
    message = await refused(hub, path, "not a key")
    assert "the key is not valid" in message
    assert "not a key" not in message


async def test_a_key_for_a_plain_file_is_reported(hub, write):
    assert "cannot be decrypted" in await refused(hub, write("internal: {a: }"), Fernet.generate_key().decode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("  \n\n", "is empty"),
        ("- a\n- b\n", "not a mapping"),
        ("just a word that is long enough", "not a mapping"),
        ("internal: [", "malformed at line"),
        ("internal:\n\tdefault:\n", "malformed at line 2"),
        (b"\xff\xfe\x00binary\x00\x01\x02 and more of it", "credentials file"),
        ("internal: word", "must map profile names to their options, not hold a str"),
        ("internal: [word]", "must map profile names"),
    ],
)
async def test_a_file_that_holds_no_credentials_is_refused_with_the_reason(hub, write, content, said):
    path = write(content)

    message = await refused(hub, path)

    assert said in message
    assert path in message or "must map" in said


async def test_a_missing_file_and_a_folder_are_named(hub, tmp_path):
    assert "does not exist (--acct-file or ACCT_FILE names it)" in await refused(hub, str(tmp_path / "none"))
    assert "is a folder" in await refused(hub, str(tmp_path))


async def test_an_unreadable_file_is_named(hub, write, monkeypatch):
    path = write("internal: {a: }", 0o000)
    if os.access(path, os.R_OK):  # root reads everything

        def denied(*args, **kwargs):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr("builtins.open", denied)

    assert "cannot be read: Permission denied" in await refused(hub, path)


async def test_a_huge_file_is_refused_before_it_is_read(hub, write, monkeypatch):
    from evbus_like.hub.profiles import credentials

    monkeypatch.setattr(credentials, "MAX_BYTES", 100)

    assert "the limit is 100" in await refused(hub, write("# " + "x" * 200))


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o666, True)]
)
async def test_a_file_that_others_can_read_causes_a_warning(hub, write, caplog, mode, warned):
    await hub.evbus.acct.profiles(acct_file=write("internal: {a: }", mode))

    assert ("CAN BE READ BY OTHERS" in caplog.text) is warned
    assert not warned or "chmod 600" in caplog.text


MALFORMED = [
    "*hunter2",
    "!hunter2 x",
    "@hunter2",
    "%hunter2",
    "'hunter2",
    '"hunter2\\q"',
    "hunter2: x",
    "{hunter2",
    "`hunter2",
]


@pytest.mark.parametrize("value", MALFORMED)
async def test_the_error_and_the_log_of_a_malformed_file_quote_no_secret(hub, write, caplog, value):
    caplog.set_level(0)

    with pytest.raises(CredentialsError) as caught:
        await hub.evbus.acct.profiles(acct_file=write(f"amqp:\n  default:\n    password: {value}\n"))

    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {caplog.text}"


async def test_a_file_without_profiles_causes_a_warning(hub, write, caplog):
    assert plain(await hub.evbus.acct.profiles(acct_file=write("# only a remark, and nothing else\n"))) == {}

    assert "has no profiles, so events go nowhere" in caplog.text


async def test_sections_of_the_application_are_not_providers(hub, caplog):
    data = {"acct-backends": {"x": {}}, "backend_key": "k", "default": "d", "internal": {"a": None}}

    assert plain(await hub.evbus.acct.profiles(acct_data=data)) == {"internal": [{"a": None}]}
    assert "no ingress plugin" not in caplog.text


async def test_data_that_is_not_a_mapping_is_refused(hub):
    with pytest.raises(CredentialsError, match="not a list"):
        await hub.evbus.acct.profiles(acct_data=["internal"])


def test_the_example_of_the_error_is_valid_yaml():
    assert yaml.safe_load("internal: {default: }") == {"internal": {"default": None}}


async def test_a_deprecation_warning_of_a_library_that_reads_the_file_is_not_an_error(hub, write, monkeypatch):
    def decode_dict(data):
        warnings.warn_explicit("old", DeprecationWarning, "utils.py", 8, module="dict_tools.utils")
        return data

    monkeypatch.setattr("dict_tools.utils.decode_dict", decode_dict)
    assert plain(await hub.evbus.acct.profiles(acct_file=write("internal: {a: }"))) == {"internal": [{"a": None}]}
