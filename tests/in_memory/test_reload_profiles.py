"""hub/profiles/reload.py and hub.evbus.init.reload: profiles read again while the bus runs."""

import asyncio
import logging

import pytest

from evbus_like.engine.errors import CredentialsError, LifecycleError, ProfileError
from tests.unit.fakes import HANG, until

NOWHERE = {"connection": {"url": "amqp://me:hunter2@localhost:1/"}, "retry": {"first": 3600.0, "max": 3600.0}}


async def bodies(hub, key):
    queue = await hub.ingress.internal.get(key)
    return [int(queue.get_nowait()) for _ in range(queue.qsize())]


async def test_the_summary_names_what_changed_and_shows_no_secret(hub, start, caplog):
    caplog.set_level(logging.INFO)
    await start({"internal": {"same": None, "other": {}, "gone": None}, "amqp": {"broker": NOWHERE}})

    broker = {**NOWHERE, "connection": {"url": "amqp://me:hunter3@localhost:1/"}}
    reloaded = await hub.evbus.init.reload(
        {"internal": {"same": None, "other": {"routing_key": "x"}, "new": None}, "amqp": {"broker": broker}}
    )

    assert reloaded.changed == ("internal:other", "amqp:broker")
    assert (reloaded.added, reloaded.removed) == (("internal:new",), ("internal:gone",))
    assert reloaded.unchanged == ("internal:same",)
    assert "2 changed (internal:other, amqp:broker)" in caplog.text
    assert "hunter" not in f"{caplog.text} {reloaded} {reloaded!r} {hub.evbus.RUNTIME!r}"


async def test_without_contexts_the_file_that_was_read_last_is_read_again(hub, start, tmp_path):
    file = tmp_path / "credentials.yml"
    file.write_text("internal: {default: {routing_key: one}}")
    file.chmod(0o600)
    await start(await hub.evbus.acct.profiles(acct_file=str(file)))
    assert (await hub.evbus.init.reload()).unchanged == ("internal:default",)
    await hub.evbus.broker.put(body=1, confirm="delivered")

    file.write_text("internal: {default: {routing_key: two}}")
    assert (await hub.evbus.init.reload()).changed == ("internal:default",)

    await hub.evbus.broker.put(body=2, confirm="delivered")
    assert (await bodies(hub, "one"), await bodies(hub, "two")) == ([1], [2])


async def test_the_match_plugin_of_start_is_kept_when_the_file_is_read_again(hub, start, tmp_path):
    file = tmp_path / "credentials.yml"
    file.write_text("internal: {'a|b': }")
    file.chmod(0o600)
    contexts = await hub.evbus.acct.profiles(acct_file=str(file))
    contexts["match_plugin"] = "regex"
    await start(contexts)
    file.write_text("internal: {'a|b': , 'c|d': }")

    await hub.evbus.init.reload()

    assert (await hub.evbus.broker.put(body=1, profile="d")).destinations == ("internal:c|d",)


async def test_contexts_that_were_changed_in_place_count_as_changed(hub, start):
    contexts = {"amqp": {"default": {"connection": {"host": "localhost", "port": 1, "password": "old"}}}}
    await start(contexts)

    contexts["amqp"]["default"]["connection"]["password"] = "new"

    assert (await hub.evbus.init.reload(contexts)).changed == ("amqp:default",)


@pytest.mark.parametrize(
    ("contexts", "error", "says"),
    [
        ({"internal": {"default": {"routing_kye": "x"}}}, ProfileError, "did you mean 'routing_key'"),
        ({"internal": {"default": {"serializer": "jsn"}}}, ProfileError, "did you mean 'json'"),
        ({"match_plugin": "regex", "internal": {"a(": None}}, ProfileError, "not a valid pattern"),
        ({"amqp": {"default": {"connection": {"url": "x://me:hunter2@h/"}}}}, ProfileError, "amqp:default"),
        ([], ProfileError, "contexts must map providers"),
        (None, CredentialsError, "no credentials file to read again"),
    ],
)
async def test_wrong_profiles_raise_what_start_raises_and_change_nothing(hub, start, contexts, error, says):
    await start()
    lanes, entries = hub.evbus.RUNTIME.bus.lanes, hub.evbus.RUNTIME.bus.admission.router.entries

    with pytest.raises(error, match=says) as raised:
        await hub.evbus.init.reload(contexts)

    assert "hunter2" not in str(raised.value)
    assert (hub.evbus.RUNTIME.bus.lanes, hub.evbus.RUNTIME.bus.admission.router.entries) == (lanes, entries)
    await hub.evbus.broker.put(body=1, confirm="delivered")


async def test_a_file_that_is_gone_or_broken_changes_nothing(hub, start, tmp_path):
    file = tmp_path / "credentials.yml"
    file.write_text("internal: {default: }")
    file.chmod(0o600)
    await start(await hub.evbus.acct.profiles(acct_file=str(file)))

    file.write_text("internal: {default: }}")
    with pytest.raises(CredentialsError, match="malformed at line 1"):
        await hub.evbus.init.reload()
    file.unlink()
    with pytest.raises(CredentialsError, match="does not exist"):
        await hub.evbus.init.reload()

    await hub.evbus.broker.put(body=1, confirm="delivered")


async def test_concurrent_reloads_run_one_after_another(hub, start):
    await start()

    one, two = await asyncio.gather(
        hub.evbus.init.reload({"internal": {"default": None, "a": None}}),
        hub.evbus.init.reload({"internal": {"default": None, "b": None}}),
    )

    assert (one.added, two.added, two.removed) == (("internal:a",), ("internal:b",), ("internal:a",))


async def test_a_profile_that_returns_continues_its_account(hub, start):
    await start({"internal": {"default": None, "extra": None}})
    for number, contexts in enumerate([{"default": None}, {"default": None, "extra": None}]):
        await hub.evbus.broker.put(body=number, profile="extra")
        await hub.evbus.init.reload({"internal": contexts})
    await hub.evbus.broker.put(body=2, profile="extra")

    account = await hub.evbus.init.stop()

    assert [(lane.destination, lane.delivered) for lane in account.lanes] == [
        ("internal:default", 0),
        ("internal:extra", 2),
    ]
    assert (account.put, account.unmatched, account.balanced) == (3, 1, True)


async def test_the_first_durable_profile_of_a_running_bus_opens_the_outbox(hub, start, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    await start({"internal": {"memory": None}})
    away = {**NOWHERE, "outbox": "always"}

    await hub.evbus.init.reload({"internal": {"memory": None}, "amqp": {"away": away}})

    await hub.evbus.broker.put(body=1, profile="away")
    assert hub.evbus.init.status()["outbox"]["pending"] == {"amqp:away": 1}
    account = await hub.evbus.init.stop(0.5)
    assert (account.spilled, account.balanced) == (1, True)


async def test_a_reload_continues_when_its_caller_is_cancelled(hub, start):
    await start()
    caller = asyncio.create_task(hub.evbus.init.reload({"internal": {"a": None}}))
    await asyncio.sleep(0)

    caller.cancel()

    await asyncio.wait([caller])
    await until(lambda: [entry.lane.name for entry in hub.evbus.RUNTIME.bus.admission.router.entries] == ["internal:a"])


async def test_a_bus_that_does_not_run_is_not_reloaded(hub, start):
    with pytest.raises(LifecycleError, match="while the bus is new"):
        await hub.evbus.init.reload({})
    await start()
    await asyncio.wait_for(hub.evbus.init.stop(), HANG)
    with pytest.raises(LifecycleError, match="while the bus is stopped"):
        await hub.evbus.init.reload({})
