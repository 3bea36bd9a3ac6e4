"""`evbus dead show`: show everything about one dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evbus_like.cli import console, file, output
from evbus_like.cli.dead import dead_letter, places, which
from evbus_like.cli.dead.places import Place
from evbus_like.cli.dead.stored import OutboxLook
from evbus_like.cli.dead.walk import Walk
from evbus_like.cli.errors import NotFound, UsageError
from evbus_like.engine.receiving.look import FoundLetter, Look
from evbus_like.engine.suggest import shown


async def run(hub: Any) -> int:
    """Print one dead letter; raises NotFound."""
    settings = hub.OPT.evbus_like
    choice = which.named(settings)
    if len(choice.numbers) + len(choice.ids) != 1:
        raise UsageError(
            "name one dead letter: `evbus dead show NUMBER`, or the id of its event; `evbus dead ls --each` lists them"
        )
    if settings.raw and settings.json:
        raise UsageError("--raw and --json exclude each other: --raw writes only the bytes of the body")
    found: list[tuple[Place, FoundLetter]] = []

    async def visit(place: Place, look: Look, letters: Sequence[FoundLetter]) -> bool:
        letter = look.whole(letters[0]) if isinstance(look, OutboxLook) else letters[0]
        found.extend([(place, letter)] if letter is not None else [])
        return not found

    walk = Walk(await places.find(hub, choice), choice)
    await walk.run(visit)
    if not found:
        walk.report("show")
        raise NotFound(_missing(hub, choice, walk))
    _print(*found[0], settings)
    return 0


def _missing(hub: Any, choice: which.Choice, walk: Walk) -> str:
    path = file.path(hub)
    if choice.numbers:
        return f"there is no dead letter {choice.numbers[0]} in {path}" if file.there(path) else file.nothing(path)
    return f"there is no dead letter {shown(choice.ids[0])} in what was looked at: {walk.where()}"


def _print(place: Place, letter: FoundLetter, settings: Any) -> None:
    if settings.raw:
        output.results().buffer.write(letter.body or b"")
        output.results().buffer.flush()
    elif settings.json:
        console.document(dead_letter.as_dict(letter, place))
    else:
        print(dead_letter.as_text(letter, place))
