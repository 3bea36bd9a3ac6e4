"""A night of trouble by the runbook: each fault is seen, mended with the commands it names, and no event is lost."""

import asyncio
import json
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest

from evbus_like.testing import eventually
from tests.deploy.programs import HANG
from tests.deploy.running import firing
from tests.faults.proxy import Proxy
from tests.faults.sites import QUICK
from tests.faults.test_reload import user_of
from tests.integration.commands import EVBUS, environment, evbus, read_line_with, write_credentials

PRICES = {"tea": 2, "coffee": 3}
POISON = "rejected: KeyError: 'coffee'"
CONF = 'DYNE = {"handler": ["handler"], "lifespan": ["lifespan"]}\n'
HANDLER = """
import json
from pathlib import Path

import evbus_like.handlers as evbus


@evbus.handler({service!r}, "placed", on_error=evbus.REJECT)
async def ship(hub, event):
    price = json.loads(Path("prices.json").read_text())[event.body["item"]]
    with open("handled.txt", "a") as file:
        print(event.body["n"], price, file=file)
"""
SHOP = """
import asyncio
from pathlib import Path


async def _put(hub):
    while not Path("opened").exists():  # an order that no handler listens to yet would have nowhere to go
        await asyncio.sleep(0.1)
    number = 0
    while not Path("closed").exists():
        item = "coffee" if number % 5 == 0 else "tea"
        await hub.evbus.broker.put("placed", {"n": number, "item": item})
        number += 1
        Path("put.new").write_text(str(number))
        Path("put.new").replace("put.txt")
        await asyncio.sleep(0.1)


async def start(hub):
    hub.SHOP = asyncio.create_task(_put(hub))


async def stop(hub):
    await hub.SHOP
"""


@pytest.fixture
def folder(tmp_path, fresh_name, monkeypatch):
    """A folder with a shop that puts ten orders a second, until it is closed, and a handler that ships them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, text in {
        "../prices.json": json.dumps(PRICES),
        "conf.py": CONF,
        "handler/shipping.py": HANDLER.format(service=fresh_name),
        "lifespan/shop.py": SHOP,
    }.items():
        (tmp_path / "desk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "desk" / name).write_text(text)
    return tmp_path


class Night:
    """The application, as an operator sees it from outside."""

    def __init__(self, folder, process, url, prometheus):
        self.folder, self.process, self.url, self.prometheus = folder, process, url, prometheus

    def not_ready(self):
        """Give why /ready says no; nothing if all is well."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=HANG):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()

    async def is_ready(self):
        """Wait until /ready says yes, and an order that is put from now on is handled."""
        await eventually(lambda: not self.not_ready(), timeout=HANG)
        since = self.put()
        await eventually(lambda: max(self.handled(), default=0) > since, timeout=HANG)

    async def alerts(self, *names, cease=()):
        """Wait until these alerts fire, and others do not."""

        def so():
            alerts = firing(self.prometheus)
            return alerts >= {*names} and not alerts & {*cease}

        await eventually(so, timeout=HANG)

    def put(self):
        """Count the orders that were put."""
        path = self.folder / "put.txt"
        return int(path.read_text()) if path.exists() else 0

    def handled(self):
        """Give the numbers of the orders that were handled."""
        path = self.folder / "handled.txt"
        return {int(line.split()[0]) for line in path.read_text().splitlines()} if path.exists() else set()

    def prices(self, prices):
        """Write the data that the handler reads."""
        (self.folder / "new").write_text(json.dumps(prices))
        (self.folder / "new").replace(self.folder / "prices.json")

    async def dead(self, *arguments):
        """Run `evbus dead --json`; gives its document."""
        code, out, err = await evbus(self.folder, "dead", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@asynccontextmanager
async def night(folder, prometheus):
    """Run the application with an HTTP port that Prometheus reads."""
    with (folder / "log").open("w") as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [EVBUS, "run", "--http", "0", "--json"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        url = json.loads(await read_line_with(process, process.stdout, '"event": "started"'))["http"]
        await read_line_with(process, process.stdout, '"event": "receiving"')
        (folder / "opened").touch()
        yield Night(folder, process, url, prometheus(url.removeprefix("http://")))
    finally:
        process.kill()
        process.communicate()


async def test_a_night_of_trouble_is_seen_at_once_and_mended_and_no_event_is_lost(
    rabbitmq, folder, fresh_name, prometheus
):
    with Proxy(rabbitmq.port) as proxy:

        def credentials(password):
            url = f"amqp://{fresh_name}:{password}@127.0.0.1:{proxy.port}/"
            profile = {"connection": {"url": url}, "exchange": f"{fresh_name}.events", "outbox": "always", **QUICK}
            write_credentials(folder, {"amqp": {"default": profile}})

        async with user_of(rabbitmq, fresh_name, ".*") as change_password:
            await change_password("old")
            credentials("old")
            async with night(folder, prometheus) as bus:
                await bus.is_ready()

                proxy.refuse()  # the broker is down
                await eventually(lambda: "amqp:default" in bus.not_ready(), timeout=HANG)
                await bus.alerts("EvbusDestinationDown", "EvbusHandlerDown")
                proxy.heal()
                await bus.is_ready()

                await change_password("new")
                proxy.reset()  # connections that are open keep their rights
                await eventually(lambda: "refused" in bus.not_ready(), timeout=HANG)
                await bus.alerts("EvbusDestinationRefuses")
                credentials("new")
                bus.process.send_signal(signal.SIGHUP)
                await bus.is_ready()
                await bus.alerts(cease=("EvbusDestinationRefuses", "EvbusDestinationDown", "EvbusHandlerDown"))

                bus.prices({"tea": 2})  # and no coffee
                await bus.alerts("EvbusDeadLetters")
                groups = (await bus.dead("ls"))["groups"]
                assert [(each["owner"], each["reason"]) for each in groups] == [("shipping.ship", POISON)]
                letter = (await bus.dead("ls", "--limit", "1"))["dead_letters"][0]
                shown = await bus.dead("show", letter["id"])
                assert json.loads(shown["body"])["item"] == "coffee"
                bus.prices(PRICES)
                replayed = await bus.dead("replay", "--all")
                assert replayed["replayed"] >= groups[0]["count"]
                assert (await bus.dead("ls"))["groups"] == []
                await bus.alerts(cease=("EvbusDeadLetters",))
                await bus.is_ready()

                (folder / "closed").touch()
                await eventually(lambda: bus.handled() == {*range(bus.put())}, timeout=HANG)
                bus.process.terminate()
                out, _ = await asyncio.to_thread(bus.process.communicate, timeout=HANG)
                assert bus.process.returncode == 0, (folder / "log").read_text()
                account = json.loads(out.splitlines()[-1])["account"]
                assert (account["put"], account["delivered"], account["remaining"]) == (bus.put(), bus.put(), 0)
