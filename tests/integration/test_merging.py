"""The bus merged into another pop app: the app and its plugins are packages of their own, installed by pip."""

import json
import os
import subprocess
import sys

import pytest

from tests.integration.support import queue, take
from tests.integration.wheels import install

APP = {
    "shopapp/__init__.py": "",
    "shopapp/conf.py": 'DYNE = {"shop": ["shop"]}\n',
    "shopapp/shop/init.py": """
        def __init__(hub):
            hub.pop.sub.add(dyne_name="evbus")
    """,
    "shopapp/shop/till.py": """
        async def sell(hub, item, **event):
            return await hub.evbus.broker.put(routing_key="sold", body={"item": item}, confirm="delivered", **event)
    """,
    "shopapp/__main__.py": """
        import asyncio, json, sys
        import pop.hub

        async def main():
            hub = pop.hub.Hub()
            hub.pop.sub.add(dyne_name="shop")
            contexts = await hub.evbus.acct.profiles(acct_data=json.load(sys.stdin))
            listener = asyncio.create_task(hub.evbus.init.start(contexts))
            await hub.evbus.init.join()
            receipt = await hub.shop.till.sell("tea")
            account = await hub.evbus.init.stop()
            await listener
            seen = {name: hub.ingress[name].SEEN for name in ("parcel", "legacy")}
            memory = await hub.ingress.internal.get("sold")
            seen["internal"] = [memory.get_nowait().decode() for _ in range(memory.qsize())]
            print(json.dumps({"seen": seen, "outcomes": receipt.outcomes, "delivered": account.delivered}))

        asyncio.run(main())
    """,
}

PLUGINS = {
    "parcelplugins/__init__.py": "",
    "parcelplugins/conf.py": 'DYNE = {"ingress": ["ingress"], "serialize": ["serialize"]}\n',
    "parcelplugins/ingress/parcel.py": """
        ACCT = ["parcel"]

        def __init__(hub):
            hub.ingress.parcel.SEEN = []

        async def publish(hub, ctx, routing_key, body):
            hub.ingress.parcel.SEEN.append([ctx.acct.street, routing_key, body.decode()])
    """,
    # As plugins for pop-evbus 7 are written.
    "parcelplugins/ingress/legacy.py": """
        ACCT = ["legacy", "old"]

        def __init__(hub):
            hub.ingress.legacy.SEEN = []

        async def publish(hub, ctx, body: bytes):
            hub.ingress.legacy.SEEN.append([ctx.acct.get("street"), body.decode()])
    """,
    "parcelplugins/serialize/shout.py": """
        CONTENT_TYPE = "text/x-shout"

        def dump(hub, data) -> bytes:
            return str(data).upper().encode()

        def load(hub, data: bytes):
            return data.decode().lower()
    """,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder where pip installed the app and the plugins."""
    folder, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    install(folder, target, "shopapp", APP)
    install(folder, target, "parcelplugins", PLUGINS)
    return target


def run(site, profiles, cwd):
    """Run the app with these profiles, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "shopapp"]
    ran = subprocess.run(
        command, env=environment, cwd=cwd, input=json.dumps(profiles), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_an_installed_app_puts_events_through_its_hub(site, tmp_path):
    result = run(site, {"internal": {"default": None}}, tmp_path)
    assert result["seen"]["internal"] == ['{"item":"tea"}']
    assert result["outcomes"] == {"internal:default": "delivered"}


def test_an_ingress_plugin_of_another_package_gets_the_event(site, tmp_path):
    result = run(site, {"parcel": {"default": {"street": "Elm"}}}, tmp_path)
    assert result["seen"]["parcel"] == [["Elm", "sold", '{"item":"tea"}']]


@pytest.mark.parametrize("provider", ["legacy", "old"])
def test_an_unchanged_plugin_for_pop_evbus_7_gets_the_event(site, tmp_path, provider):
    result = run(site, {provider: [{"default": {"street": "Elm"}}, {"def*": None}]}, tmp_path)
    assert result["seen"]["legacy"] == [["Elm", '{"item":"tea"}'], [None, '{"item":"tea"}']]
    assert result["delivered"] == 2


def test_a_serializer_of_another_package_can_be_chosen_by_a_profile(site, tmp_path):
    result = run(site, {"internal": {"default": {"serializer": "shout"}}, "legacy": {"default": None}}, tmp_path)
    assert result["seen"]["internal"] == ["{'ITEM': 'TEA'}"]
    assert result["seen"]["legacy"] == [[None, '{"item":"tea"}']]


async def test_an_installed_app_reaches_rabbitmq_with_the_other_packages_serializer(
    site, tmp_path, rabbitmq, fresh_name
):
    data = {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name, "serializer": "shout"}
    async with queue(rabbitmq.url, fresh_name) as made:
        run(site, {"rabbitmq": {"default": data}}, tmp_path)
        (message,) = await take(made, 1)
    assert (message.body, message.content_type) == (b"{'ITEM': 'TEA'}", "text/x-shout")
