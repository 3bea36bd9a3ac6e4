"""The tutorial works as written."""

import aio_pika
import pytest

from tests.docs.blocks import DOCS, blocks, matches, replaced, run, session

PAGE_URL = "amqp://guest:guest@localhost/"


@pytest.fixture
async def fresh_rabbitmq(rabbitmq):
    """A RabbitMQ without the queue and the exchange of an earlier run of the tutorial."""
    await delete_leftovers(rabbitmq.url)
    yield rabbitmq
    await delete_leftovers(rabbitmq.url)


async def delete_leftovers(url):
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_delete("shop-reader")
        await channel.exchange_delete("shop")


def test_the_commands_of_the_tutorial_print_what_it_shows(tmp_path, fresh_rabbitmq):
    commands = 0
    for block in blocks(DOCS / "tutorial.md"):
        text = replaced(block.text, {PAGE_URL: fresh_rabbitmq.url})
        if block.caption:
            file = tmp_path / block.caption
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif block.language == "console":
            for command, expected in session(text):
                ran = run(command, tmp_path)
                assert ran.returncode == 0, f"{command} ended with {ran.returncode}:\n{ran.stdout}"
                assert matches(expected, ran.stdout), f"{command} printed:\n{ran.stdout}"
                commands += 1
    assert commands > 8
