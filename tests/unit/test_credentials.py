"""hub/profiles/credentials.py: a file becomes contexts, or an error that says what to do and shows no secret."""

import os
import warnings

import msgpack
import pytest
import yaml
from cryptography.fernet import Fernet
from dict_tools.data import SafeNamespaceDict

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


@pytest.fixture
def hub(one_hub):
    one_hub.OPT = one_hub.pop.data.null_map()
    return one_hub


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

        monkeypatch.setattr("os.open", denied)

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


@pytest.mark.parametrize(("mode", "warned"), [(0o640, False), (0o440, False), (0o660, True), (0o644, True)])
async def test_a_file_that_root_gives_a_group_to_read_causes_none(hub, write, caplog, monkeypatch, mode, warned):
    # Given the file as Kubernetes mounts a secret for a process that is not root
    seen, path = os.fstat, write("internal: {a: }", mode)
    monkeypatch.setattr("os.fstat", lambda file: os.stat_result([*seen(file)[:4], 0, *seen(file)[5:]]))
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    await hub.evbus.acct.profiles(acct_file=path)

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


@pytest.mark.parametrize(
    "line", ["#!jinja|yaml", "#!yaml|jinja", "#! jinja", "#!toml", "#!k8crd", "#!", "#!\xff", "#!x y"]
)
async def test_a_file_whose_first_line_names_a_renderer_that_can_run_code_is_refused(hub, write, tmp_path, line):
    hub.OPT = {"evbus_like": {"acct_renderers": None}}
    ran = tmp_path / "ran"
    code = f"{{{{ hub.acct.__init__.__globals__['os'].mkdir('{ran}') }}}}"
    message = await refused(hub, write(f"{line}\ninternal: {{a: }}\n# {code}\n"))

    assert "renderers can run code as this user. Allowed: json, yaml." in message
    assert "EVBUS_ACCT_RENDERERS" in message
    assert not ran.exists()


@pytest.mark.parametrize(("line", "data"), [("#!yaml", "internal: {a: }"), ("#!json", '{"internal": {"a": null}}')])
async def test_a_file_may_name_the_renderers_that_run_nothing(hub, write, line, data):
    assert plain(await hub.evbus.acct.profiles(acct_file=write(f"{line}\n{data}\n"))) == {"internal": [{"a": None}]}


async def test_a_setting_or_the_caller_allows_other_renderers(hub, write, monkeypatch):
    options = {
        "evbus_like": {"acct_renderers": "jinja"},
        "rend": SafeNamespaceDict(enable_jinja_sandbox=True, jinja_sandbox_safe_hub_refs=[]),
    }
    monkeypatch.setattr(hub, "OPT", hub.pop.data.imap(options))
    template = "internal: {a{{ 1 + 1 }}: }"

    assert plain(await hub.evbus.acct.profiles(acct_file=write(f"#!jinja|yaml\n{template}"))) == {
        "internal": [{"a2": None}]
    }
    given = await hub.evbus.acct.profiles(acct_file=write(template), render_pipe="jinja|yaml")
    assert plain(given) == {"internal": [{"a2": None}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("internal:\n  no: {}\n", "line 2, column 3: a key must be text, and YAML reads 'no' as bool"),
        ("internal:\n  1.10: {}\n", "reads '1.10' as float"),
        ("internal:\n  null: {}\n", "reads 'null' as NoneType"),
        ("internal:\n  2026-01-31: {}\n", "reads '2026-01-31' as date"),
        ("internal:\n  2024: {}\n", "reads '2024' as int"),
        ("yes:\n  a: {}\n", "line 1, column 1: a key must be text, and YAML reads 'yes' as bool"),
        ("internal:\n  a: {}\n  a: {}\n", "the key 'a' is there twice"),
    ],
)
async def test_names_that_yaml_reads_as_something_else_are_named_with_their_line(hub, write, content, said):
    assert said in await refused(hub, write(content))


async def test_aliases_that_expand_without_end_and_ints_of_base_60_do_not_hang(hub, write):
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(40))
    assert "more than 100000 keys and values" in await refused(hub, write(bomb))

    given = await hub.evbus.acct.profiles(acct_file=write(f"internal: {{a: {{x: {'1' + ':59' * 100_000}}}}}"))
    assert isinstance(plain(given)["internal"][0]["a"]["x"], str)


async def test_anchors_and_merge_keys_are_read(hub, write):
    path = write("x-base: &base {routing_key: q}\ninternal: {a: {<<: *base, max_events: 3}, b: *base}\n")

    assert plain(await hub.evbus.acct.profiles(acct_file=path))["internal"] == [
        {"a": {"routing_key": "q", "max_events": 3}},
        {"b": {"routing_key": "q"}},
    ]


async def test_a_pipe_is_read_once_and_kept(hub, tmp_path):
    read_end, write_end = os.pipe()
    os.write(write_end, b"internal: {a: }")
    os.close(write_end)

    for _ in range(2):  # the second time there is nothing to read
        given = await hub.evbus.acct.profiles(acct_file=f"/dev/fd/{read_end}")
        assert plain(given) == {"internal": [{"a": None}]}
    os.close(read_end)


async def test_a_pipe_that_nobody_writes_is_given_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("evbus_like.engine.given_files.DEADLINE", 0.01)
    os.mkfifo(tmp_path / "pipe")

    assert "nothing came from it within 0.01 seconds" in await refused(hub, str(tmp_path / "pipe"))


async def test_a_device_without_an_end_is_read_to_the_limit(hub):
    assert "more than 4194304 bytes, the limit" in await refused(hub, "/dev/zero")


async def test_a_file_of_another_user_causes_a_warning(hub, write, caplog, monkeypatch):
    path = write("internal: {a: }")
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    if os.stat(path).st_uid == 0:
        os.chown(path, 999, 999)
    await hub.evbus.acct.profiles(acct_file=path)

    assert "BELONGS TO ANOTHER USER" in caplog.text
