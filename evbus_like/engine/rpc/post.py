"""A post: sends letters over a feed, those of one turn of the loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from evbus_like.engine.rpc.letter import Letter

Outcomes = Sequence[Exception | None]
Send = Callable[[Sequence[Letter]], Awaitable[Awaitable[Outcomes]]]


class Post:
    """Letters on their way out; `send` writes some, in order, and gives what will hold their outcomes."""

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._name = name
        self._waiting: list[tuple[Letter, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._soon = False

    def put(self, letter: Letter) -> asyncio.Future[None]:
        """Send a letter; the future is done when the source has it, or holds what went wrong."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((letter, future))
        if not self._soon:
            self._soon = True
            loop.call_soon(self._go)
        return future

    def _go(self) -> None:
        self._soon = False
        letters, self._waiting = self._waiting, []
        if not letters:
            return
        task = asyncio.create_task(self._deliver(letters), name=f"evbus_like post {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, letters: list[tuple[Letter, asyncio.Future[None]]]) -> None:
        try:
            outcomes = await (await self._send([letter for letter, _ in letters]))
        except BaseException as error:
            shown = error if isinstance(error, Exception) else ConnectionError("the connection is closed")
            for _, future in letters:
                _settle(future, shown)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), outcome in zip(letters, outcomes, strict=True):
            _settle(future, outcome)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, future in self._waiting:
            _settle(future, ConnectionError("the connection is closed"))
        self._waiting.clear()


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # who gave up waiting is not told again
