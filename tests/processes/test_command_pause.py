"""`evbus pause` and `evbus resume`, as an operator uses them on running processes."""

import asyncio
import json
import signal

import pytest

from tests.integration.commands import evbus, read_line_with, start_evbus, wait_for_end, write_credentials

WITHIN = 30  # seconds, on a busy machine


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an application of two handlers, in memory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(
        "import evbus_like.handlers as evbus\n\n"
        '@evbus.handler("orders", "placed")\nasync def ship(hub, event):\n    pass\n\n'
        '@evbus.handler("orders", "placed")\nasync def pack(hub, event):\n    pass\n'
    )
    return tmp_path


async def states(folder, of="handlers"):
    """The states of each handler, or destination, in the running processes."""
    _, out, _ = await evbus(folder, "status", "--json", credentials=False)
    found = {}
    for process in json.loads(out)["processes"]:
        rows = process["handlers"] if of == "handlers" else process["bus"]["destinations"]
        for name, row in rows.items():
            found.setdefault(row.get("handler", name), set()).add(row["state"])
    return found


async def until(folder, expected, of="handlers"):
    async with asyncio.timeout(WITHIN):
        while await states(folder, of) != expected:  # noqa: ASYNC110 - other processes change it
            await asyncio.sleep(0.2)


async def start(folder, *arguments, credentials=False):
    process = start_evbus(folder, "run", "--json", *arguments, credentials=credentials)
    await read_line_with(process, process.stdout, '"event": "receiving"')
    return process


async def end(process):
    process.terminate()
    code, _, err = await wait_for_end(process)
    assert code == 0, err


async def test_a_handler_is_paused_in_all_processes_also_after_a_restart_until_it_is_resumed(folder):
    process = await start(folder, "--processes", "2")
    try:
        code, out, _ = await evbus(folder, "pause", "shipping.ship", "--reason", "no paper", credentials=False)
        assert code == 0
        assert "paused: shipping.ship" in out
        await until(folder, {"shipping.ship": {"paused"}, "shipping.pack": {"open"}})
        code, out, _ = await evbus(folder, "status", credentials=False)
        assert code == 0  # on purpose: what is paused does not make a process unready
        # When all processes are killed and started again
        process.send_signal(signal.SIGKILL)
        await wait_for_end(process)
        process = await start(folder, "--processes", "2")
        assert await states(folder) == {"shipping.ship": {"paused"}, "shipping.pack": {"open"}}
        code, out, _ = await evbus(folder, "pause", "--json", credentials=False)
        assert [(each["name"], each["reason"]) for each in json.loads(out)["paused"]] == [("shipping.ship", "no paper")]
        code, out, _ = await evbus(folder, "resume", "shipping.ship", credentials=False)
        assert (code, "nothing of" in out) == (0, True)
        await until(folder, {"shipping.ship": {"open"}, "shipping.pack": {"open"}})
        await end(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def test_a_destination_is_paused_by_a_pattern_of_its_name(folder):
    write_credentials(folder, {"internal": {"default": None, "other": None}})
    process = await start(folder, credentials=True)
    try:
        code, out, _ = await evbus(folder, "pause", "internal:def*", "--reason", "audit")
        assert code == 0, out
        await until(folder, {"internal:default": {"paused"}, "internal:other": {"open"}}, "destinations")
        await evbus(folder, "resume", "--all")
        await until(folder, {"internal:default": {"open"}, "internal:other": {"open"}}, "destinations")
        await end(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["pause", "shipping.shop"],
            "there is no handler 'shipping.shop' (a destination is PROVIDER:PROFILE); did you mean",
        ),
        (["pause", "amqp2:orders"], "there is no provider 'amqp2' for the destination 'amqp2:orders'; did you mean"),
        (["pause", "internal:defualt", "--acct-file", "acct.json"], "there is no destination 'internal:defualt'; did"),
        (["resume", "shipping.ship"], "'shipping.ship' is not paused; there is none"),
    ],
)
async def test_a_name_that_there_is_not_is_an_error_with_the_nearest_one(folder, arguments, message):
    write_credentials(folder, {"internal": {"default": None}})
    code, out, err = await evbus(folder, *arguments, credentials=False)
    assert (code, out) == (1, "")
    assert message in err
    assert not (folder / "state").exists() or not [*(folder / "state").rglob("paused.json")]


async def test_a_resume_without_a_name_says_what_to_do_and_all_resumes_everything(folder):
    code, _, err = await evbus(folder, "resume", credentials=False)
    assert (code, "or say --all" in err) == (2, True)
    await evbus(folder, "pause", "shipping", "internal:default", credentials=False)
    code, out, _ = await evbus(folder, "resume", "--all", "--json", credentials=False)
    assert (code, json.loads(out)["paused"]) == (0, [])
