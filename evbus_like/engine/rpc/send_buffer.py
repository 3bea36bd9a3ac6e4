"""A post: sends letters over a source, those of one turn of the loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from evbus_like.engine.errors import TransientError, UnknownOutcome
from evbus_like.engine.message import Message, Outcome

Send = Callable[[Sequence[Message]], Awaitable[None]]
MOST_OPEN = 100_000  # letters of which the source has not said what became of them; more are not sent


class SendBuffer:
    """Letters on their way out; `send` writes some, in order, and the source settles each.

    Each letter is settled, at the latest `within` seconds after it was put.
    """

    def __init__(self, send: Send, name: str, within: float = 60.0) -> None:
        self._send = send
        self._name = name
        self._within = within
        self._waiting: list[Message] = []
        self._open: dict[Message, float] = {}  # with their deadlines, the first one first
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False

    @property
    def open(self) -> int:
        """How many letters are not settled."""
        return len(self._open)

    def put(self, letter: Message, outcome: Outcome) -> None:
        """Send a letter; `outcome` is called once with what became of it, as `Letter.settle` says."""
        if len(self._open) >= MOST_OPEN:
            outcome(TransientError(f"{self._name} has not said what became of {MOST_OPEN} messages"))
            return

        def told(error: Exception | None) -> None:
            self._open.pop(letter, None)
            outcome(error)

        letter.told = told
        loop = asyncio.get_running_loop()
        self._open[letter] = loop.time() + self._within
        self._waiting.append(letter)
        if not self._soon:
            self._soon = True
            loop.call_soon(self._go)
            if self._timer is None:
                self._timer = loop.call_later(self._within, self._look)

    def _go(self) -> None:
        self._soon = False
        letters, self._waiting = self._waiting, []
        if letters:
            task = asyncio.create_task(self._deliver(letters), name=f"evbus_like post {self._name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, letters: list[Message]) -> None:
        try:
            async with asyncio.timeout(self._within):
                await self._send(letters)
        except TimeoutError:
            self._give_up(letters, UnknownOutcome(f"{self._name} took nothing for {self._within:g} s"))
        except Exception as error:
            self._give_up(letters, error)

    def _give_up(self, letters: list[Message], error: Exception) -> None:
        for letter in letters:
            letter.settle(error)

    def _look(self) -> None:
        """Give up the letters that are late."""
        self._timer, loop = None, asyncio.get_running_loop()
        now = loop.time()
        for letter, deadline in list(self._open.items()):
            if deadline > now:
                self._timer = loop.call_at(deadline, self._look)
                break
            letter.settle(UnknownOutcome(f"{self._name} said nothing for {self._within:g} s"))

    def close(self) -> None:
        """Give up what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()
        self._give_up(list(self._open), UnknownOutcome("the bus has stopped"))
