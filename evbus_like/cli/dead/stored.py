"""A look at the dead letters of the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from evbus_like.cli import file
from evbus_like.cli.dead.which import Choice
from evbus_like.engine.outbox import DeadLetter, Outbox, StorageError, inspect, requests
from evbus_like.engine.outbox.lock import holder
from evbus_like.engine.receiving.look import FoundLetter

PAGE = 1000
AT_ONCE = 200  # letters replayed in a transaction, which holds the bodies in memory
BEYOND = 2**63  # all numbers are below


@asynccontextmanager
async def look(path: Path, choice: Choice) -> AsyncIterator[OutboxLook | None]:
    """Look at the outbox; yields None if there is none. Raises StorageError."""
    with file.reading(path):
        there = file.there(path)
    made = OutboxLook(path, choice) if there else None
    try:
        yield made
    finally:
        if made is not None:
            await made.close()


def check(path: Path) -> None:
    """Raise OutboxLocked if a process has the outbox open that takes no requests."""
    if not requests.folder(path).exists():
        with file.changing(path):
            pass


class OutboxLook:
    """Reads beside a running bus, and asks it to replay and to purge; where none runs, it opens the outbox."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self.expected = 0
        self.unseen = ""
        self._path = path
        self._choice = choice
        self.sent = 0  # letters that a bus sends already
        self._box: Outbox | None = None

    async def pages(self) -> AsyncGenerator[Sequence[FoundLetter], None]:
        """Yield the letters that match, without their bodies."""
        if self._choice.numbers:
            yield [found(each) for each in await asyncio.to_thread(self._by_number)]
            if not self._choice.ids:
                return
        last, ids = 0, {*self._choice.ids}
        while letters := await asyncio.to_thread(self._page, last):
            last = letters[-1].number
            self.expected += len(letters)
            if not self._choice.named:
                yield [found(each) for each in letters]
            elif its := [found(each) for each in letters if each.event.id in ids]:
                yield its

    def _page(self, after: int) -> list[DeadLetter]:
        with file.reading(self._path):
            return inspect.dead_letters(self._path, self._choice.of_outbox, PAGE, after)

    def _by_number(self) -> list[DeadLetter]:
        letters = []
        with file.reading(self._path):
            for number in self._choice.numbers:
                its = self._at(number) if 0 < number < BEYOND else []
                letters += [each for each in its if each.number == number]
        return letters

    def whole(self, letter: FoundLetter) -> FoundLetter | None:
        """Return a letter with its body; None if it is gone."""
        with file.reading(self._path):
            letters = inspect.dead_letter(self._path, letter.token)
        return None if letters is None else found(letters)

    async def _asked(self, action: str, letters: Sequence[FoundLetter], to: str = "") -> int | None:
        """Have letters changed by the bus that has the outbox open; None if none has. Raises OutboxLocked."""
        if self._box is not None or not requests.folder(self._path).exists() or holder(self._path) is None:
            return None
        answer = await requests.ask(self._path, requests.Request(action, [letter.token for letter in letters], to))
        if "error" in answer:
            raise StorageError(f"the process that has the outbox {self._path} open says: {answer['error']}")
        return int(answer["done"])

    async def _opened(self) -> Outbox:
        """Open the outbox to change it; raises OutboxLocked that says what to do, and StorageError."""
        if self._box is None:
            self._box = await file.opened(self._path)
        return self._box

    async def replay(self, letters: Sequence[FoundLetter], to: str) -> Sequence[str]:
        """Make letters pending again; a bus that has the outbox open sends them now."""
        numbers = [letter.token for letter in letters]
        done = await self._asked(requests.REPLAY, letters, to)
        if done is None:
            box, done = await self._opened(), 0
            for at in range(0, len(numbers), AT_ONCE):
                done += len(await box.replay(numbers[at : at + AT_ONCE], to or None))
        else:
            self.sent += done
        return await self._problems(numbers) if done < len(numbers) else [""] * len(numbers)

    async def remove(self, letters: Sequence[FoundLetter]) -> Sequence[str]:
        """Delete letters."""
        if await self._asked(requests.PURGE, letters) is None:
            await (await self._opened()).purge([letter.token for letter in letters])
        return [""] * len(letters)

    async def _problems(self, numbers: Sequence[int]) -> list[str]:
        """Return why some letters were not replayed: what is damaged is still there."""
        problems = []
        for number in numbers:
            left = await self._box.dead_letters(limit=1, after=number - 1) if self._box else self._at(number)
            damaged = bool(left) and left[0].number == number
            problems.append("it was damaged on the disk: purge it" if damaged else "")
        return problems

    def _at(self, number: int) -> list[DeadLetter]:
        return inspect.dead_letters(self._path, limit=1, after=number - 1)

    async def close(self) -> None:
        """Close the outbox, if it was opened."""
        if self._box is not None:
            await self._box.close()


def found(letter: DeadLetter) -> FoundLetter:
    """Return a letter of the outbox as a look finds it."""
    event = letter.event
    return FoundLetter(
        name=str(letter.number),
        owner=letter.destination,
        reason=letter.reason,
        attempts=letter.attempts,
        died=letter.died,
        routing_key=event.routing_key,
        id=event.id,
        kind=letter.kind,
        put=event.timestamp,
        first_failed=letter.first_failed,
        size=letter.size,
        profile=event.profile,
        key=event.key,
        headers=event.headers or {},
        content_type=event.content_type,
        body=event.body,
        token=letter.number,
    )
