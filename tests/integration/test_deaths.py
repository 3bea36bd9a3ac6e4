"""`evbus run` on RabbitMQ: an event that kills its worker each time is set aside, and those behind it are handled."""

import asyncio
import json

import aio_pika

from evbus_like.testing import eventually
from tests.integration.commands import start_evbus, write_credentials
from tests.integration.support import channel, lengths

HANDLER = """
import os, pathlib
import evbus_like.handlers as evbus

@evbus.handler("{source}", "placed")
async def take(hub, event):
    if event.body == "kills":
        os.kill(os.getpid(), 9)
    with open("handled", "a") as handled:
        handled.write(event.body + "\\n")
"""


async def test_an_event_that_kills_its_worker_each_time_is_set_aside_and_the_others_are_handled(
    rabbitmq, tmp_path, fresh_name, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(HANDLER.format(source=fresh_name))
    write_credentials(tmp_path, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}})
    handled = tmp_path / "handled"
    queue = f"evt-{fresh_name}-placed--shipping.take"
    async with channel(rabbitmq.url) as opened:
        exchange = await opened.declare_exchange(f"{fresh_name}.events", "topic", durable=True)
        await (await opened.declare_queue(queue, durable=True)).bind(exchange, "placed")
        for body in ("a", "kills", "b", "c"):
            message = aio_pika.Message(json.dumps(body).encode(), content_type="application/json", message_id=body)
            await exchange.publish(message, "placed")
        deaths = 0
        while deaths < 8:
            process = start_evbus(tmp_path, "run")
            try:
                ended = asyncio.create_task(asyncio.to_thread(process.communicate))
                while not ended.done() and (await lengths(opened, queue))[1] == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                if not ended.done():
                    await eventually(lambda: handled.exists() and {"a", "b", "c"} <= set(handled.read_text().split()))
                    break
                deaths += 1
            finally:
                process.kill()
                await ended
        letter = await (await opened.get_queue(f"{queue}.dead")).get(no_ack=True)
    assert deaths == 4  # the first one cannot be told from a lost connection
    assert letter.body == b'"kills"'
    assert "its worker ended 3 times while it was handled" in letter.headers["evbus-dead-reason"]
