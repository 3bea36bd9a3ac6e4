"""The rate of a handler, or of a profile, holds for all processes of one `evbus run`."""

from tests.integration.commands import read_line_with, start_evbus, wait_for_end, write_credentials

EVENTS, RATE = 40, 100


async def test_all_workers_of_a_supervisor_share_the_rate_of_a_handler(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    files = {
        "conf.py": 'DYNE = {"handler": ["handler"], "lifespan": ["lifespan"]}\n',
        "handler/shipping.py": f"""
import os, time
import evbus_like.handlers as evbus

@evbus.handler("orders", "placed", rate="{RATE}/s")
async def ship(hub, event):
    with open("times", "a") as file:
        file.write(f"{{time.monotonic()}} {{os.getpid()}}\\n")
    if sum(1 for line in open("times")) == {2 * EVENTS}:
        print("all are handled", flush=True)
""",
        "lifespan/orders.py": f"""
import asyncio, os

async def start(hub):
    hub.ORDERING = asyncio.create_task(order(hub))

async def order(hub):
    while not any(each["state"] == "open" for each in hub.evbus.handlers.status().values()):
        await asyncio.sleep(0.01)
    open(f"ready-{{os.getpid()}}", "w").close()
    while len([each for each in os.listdir() if each.startswith("ready-")]) < 2:  # both begin at the same time
        await asyncio.sleep(0.01)
    for number in range({EVENTS}):
        await hub.evbus.broker.dispatch("orders", "placed", number)
""",
    }
    await share_the_rate(tmp_path, files, "all are handled")


async def test_all_workers_of_a_supervisor_share_the_rate_of_a_profile(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    files = {
        "conf.py": 'DYNE = {"handler": ["handler"], "lifespan": ["lifespan"], "ingress": ["ingress"]}\n',
        "handler/shipping.py": """
import evbus_like.handlers as evbus

@evbus.handler("orders", "placed", profile="own")
async def ship(hub, event):
    pass
""",
        "ingress/slow.py": f"""
import os, time

ACCT = ("slow",)

async def publish_batch(hub, ctx, events):
    with open("times", "a") as file:
        file.write(f"{{time.monotonic()}} {{os.getpid()}}\\n" * len(events))
    if sum(1 for line in open("times")) == {2 * EVENTS}:
        print("all are sent", flush=True)
""",
        "lifespan/orders.py": f"""
import asyncio, os

async def start(hub):
    hub.ORDERING = asyncio.create_task(order(hub))

async def order(hub):
    open(f"ready-{{os.getpid()}}", "w").close()
    while len([each for each in os.listdir() if each.startswith("ready-")]) < 2:  # both begin at the same time
        await asyncio.sleep(0.01)
    for number in range({EVENTS}):
        await hub.evbus.broker.put("placed", number)
""",
    }
    write_credentials(tmp_path, {"internal": {"own": None}, "slow": {"default": {"rate": f"{RATE}/s"}}})
    await share_the_rate(tmp_path, files, "all are sent", credentials=True)


async def share_the_rate(folder, files, end, credentials=False):
    """Run an application of these files in two processes until its log says `end`, and look at the times it wrote."""
    for name, text in files.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    process = start_evbus(folder, "run", "--processes", "2", "--json", credentials=credentials)
    try:
        await read_line_with(process, process.stderr, end)
        process.terminate()
        code, _, err = await wait_for_end(process)
        assert code == 0, err
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    lines = [line.split() for line in (folder / "times").read_text().splitlines()]
    assert len({pid for _, pid in lines}) == 2
    times = sorted(float(each) for each, _ in lines)
    # With a rate each it would be half of the time, and less; three batches of 5 of each process may come at once
    assert times[-1] - times[0] >= (2 * EVENTS - 6 * 5) / RATE
