"""A channel to RabbitMQ for unit tests, which keeps what is written to it."""

import asyncio
from types import SimpleNamespace

from evbus_like.amqp import failures
from evbus_like.amqp.confirms import ConfirmChannel


def confirm_channel() -> tuple[ConfirmChannel, list[bytes]]:
    """Return a channel with confirms, and the list of what is written to it."""
    written: list[bytes] = []

    async def write(frames: bytes) -> None:
        written.append(frames)

    channel = SimpleNamespace(
        aiormq=SimpleNamespace(lock=asyncio.Lock()),
        is_open=True,
        number=1,
        max_body=131_000,
        on_lost=lambda lost: None,
        tap=lambda sink: None,
        write=write,
    )
    return ConfirmChannel(channel, lambda error: failures.publishing(error, "here")), written  # type: ignore[arg-type]
