"""Draw the pictures of the pages, each for a light and a dark background: `python -m tools.pictures`.

Text has 15 units on a width of 560, so that it can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH = 560
LINE = 18  # from one line of text to the next

THEMES = {
    "light": {
        "text": "#1f2933",
        "soft": "#52606d",
        "line": "#7b8794",
        "box": "#f5f7fa",
        "edge": "#9aa5b1",
        "ours": "#e3ecfd",
        "ours-edge": "#2f6fde",
        "good": "#dff5e5",
        "good-edge": "#2b8a4b",
        "warn": "#fdf1d3",
        "warn-edge": "#b7791f",
        "bad": "#fde4e1",
        "bad-edge": "#c53030",
    },
    "dark": {
        "text": "#f0f4f8",
        "soft": "#bcccdc",
        "line": "#9fb3c8",
        "box": "#243b53",
        "edge": "#627d98",
        "ours": "#1c3d74",
        "ours-edge": "#6ea8fe",
        "good": "#1d4d33",
        "good-edge": "#5fd38d",
        "warn": "#573d0c",
        "warn-edge": "#f0b429",
        "bad": "#5c1f1f",
        "bad-edge": "#f29b9b",
    },
}


@dataclass
class Drawing:
    """Collects the parts of one picture in the colours of one theme."""

    colours: dict[str, str]
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        colour: str = "text",
        anchor: str = "middle",
        bold: bool = False,
        size: int = 15,
    ) -> None:
        """Write one line."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{self.colours[colour]}" font-size="{size}" text-anchor="{anchor}"'
            f"{weight}>{escape(text)}</text>"
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        lines: Sequence[str],
        kind: str = "box",
        *,
        dashed: bool = False,
    ) -> None:
        """Draw a box with lines of text in its middle; the first is bold."""
        edge = self.colours["edge" if kind == "box" else f"{kind}-edge"]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{self.colours[kind]}" '
            f'stroke="{edge}" stroke-width="1.5"{dash}/>'
        )
        first = y + height / 2 - (len(lines) - 1) * LINE / 2 + 5
        for number, line in enumerate(lines):
            small = number > 0
            self.text(
                x + width / 2,
                first + number * LINE,
                line,
                bold=not small,
                colour="soft" if small else "text",
                size=13 if small else 15,
            )

    def arrow(self, points: Sequence[tuple[float, float]], *, colour: str = "line", dashed: bool = False) -> None:
        """Draw a line through the points, with a head at its end."""
        path = " ".join(f"{'M' if number == 0 else 'L'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{self.colours[colour]}" stroke-width="1.8"{dash}/>')
        (x0, y0), (x1, y1) = points[-2], points[-1]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        corners = [
            (x1, y1),
            (x1 - 9 * dx + 4.5 * dy, y1 - 9 * dy - 4.5 * dx),
            (x1 - 9 * dx - 4.5 * dy, y1 - 9 * dy + 4.5 * dx),
        ]
        place = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.parts.append(f'<polygon points="{place}" fill="{self.colours[colour]}"/>')

    def rule(self, x: float, y0: float, y1: float) -> None:
        """Draw a dashed vertical line."""
        self.parts.append(
            f'<path d="M{x:g} {y0:g} L{x:g} {y1:g}" stroke="{self.colours["line"]}" '
            'stroke-width="1.2" stroke-dasharray="3 4"/>'
        )

    def svg(self, height: float, title: str) -> str:
        """Return the whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" '
            'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
        )
        return "\n".join([head, f"<title>{escape(title)}</title>", *self.parts, "</svg>\n"])


def road(draw: Drawing) -> tuple[float, str]:
    """Draw the road of an event, from a put to a handler."""
    draw.box(10, 12, 160, 48, ["put, dispatch", "any thread, any loop"], "ours")
    draw.box(200, 12, 160, 48, ["intake queue", "bounded"])
    draw.box(390, 12, 160, 48, ["route, serialize", "profiles that match"])
    draw.arrow([(170, 36), (200, 36)])
    draw.arrow([(360, 36), (390, 36)])
    lanes = (
        (10, "RabbitMQ", "amqp:orders*"),
        (200, "Kafka", "kafka:orders*"),
        (390, "memory, plugin", "internal:audit"),
    )
    draw.arrow([(470, 60), (470, 116)])
    draw.arrow([(470, 88), (90, 88), (90, 116)])
    draw.arrow([(470, 88), (280, 88), (280, 116)])
    for x, broker, name in lanes:
        draw.box(x, 116, 160, 66, ["lane", name, "queue, connection"], "ours")
        draw.arrow([(x + 60, 182), (x + 60, 250)])
        draw.text(x + 68, 208, "batches,", anchor="start", colour="soft", size=13)
        draw.text(x + 68, 224, "confirmed", anchor="start", colour="soft", size=13)
        draw.box(x, 250, 160, 36, [broker])
    for x in (10, 200, 390):
        draw.arrow([(x + 80, 286), (x + 80, 318)])
    draw.box(10, 318, 540, 48, ["handler", "acknowledged when it has returned and what it put is safe"], "ours")
    draw.box(10, 384, 255, 48, ["outbox", "keeps events on disk, if a profile asks"], dashed=True)
    draw.box(295, 384, 255, 48, ["dead letters", "what is given up: show, replay, purge"], "warn", dashed=True)
    return 444, "The road of an event: put, intake queue, route, one lane for each destination, broker, handler"


def down(draw: Drawing) -> tuple[float, str]:
    """Draw what happens when a destination is down."""
    draw.text(10, 24, "One destination is down", anchor="start", bold=True)
    draw.box(10, 38, 250, 48, ["connection lost", "killed, frozen, blocked, cut off"], "bad")
    draw.box(300, 38, 250, 48, ["other destinations", "are not affected"], "good")
    draw.arrow([(135, 86), (135, 112)])
    draw.box(
        10,
        112,
        540,
        48,
        ["its lane waits and tries again", "random waits, 0.1 s doubled up to 5 s; new events queue in the lane"],
        "ours",
    )
    draw.arrow([(135, 160), (135, 206)])
    draw.text(145, 188, "back", anchor="start", colour="soft")
    draw.arrow([(425, 160), (425, 206)])
    draw.text(435, 188, "lane full", anchor="start", colour="soft")
    draw.box(
        10,
        206,
        250,
        66,
        ["everything is sent, in order", "what had no confirm is sent again:", "it may arrive twice, with the same id"],
        "good",
    )
    choices = (
        ("block (default)", "put waits, then raises"),
        ("spill", "to the outbox on disk"),
        ("drop_new, drop_old", "dropped and counted"),
    )
    for number, (name, meaning) in enumerate(choices):
        draw.box(300, 206 + 56 * number, 250, 46, [name, meaning], "warn" if number == 2 else "box")
    draw.box(10, 300, 250, 66, ["refused for good", "a poison event: dead letter,", "and the next one is sent"], "warn")
    return 378, "When a destination is down: its lane waits and tries again, the others go on"


def modes(draw: Drawing) -> tuple[float, str]:
    """Draw the delivery modes by the moment at which the process is killed."""
    columns = ("before put returns", "in the lane", "sent, no confirm", "confirmed")
    left, top, width, height = 118, 58, 108, 62
    draw.text(10, 22, "The process is killed: what happens to an event", anchor="start", bold=True)
    for number, name in enumerate(columns):
        draw.text(left + width * number + width / 2, 48, name, size=12, colour="soft")
    lost, kept, twice, done = ("bad", "lost"), ("good", "kept"), ("warn", "sent again"), ("good", "delivered")
    rows = (
        (("memory", "the default"), (lost, lost, ("bad", "may be lost"), done)),
        (("spill", "when_full: spill"), (lost, ("warn", "kept if on disk"), ("warn", "kept if on disk"), done)),
        (("always", "outbox: always"), (("warn", "may be kept"), kept, twice, done)),
    )
    for row, ((name, option), cells) in enumerate(rows):
        y = top + height * row
        draw.text(10, y + 26, name, anchor="start", bold=True)
        draw.text(10, y + 44, option, anchor="start", colour="soft", size=12)
        for column, (kind, text) in enumerate(cells):
            draw.box(left + width * column + 2, y + 4, width - 4, height - 8, [], kind)
            draw.text(left + width * column + width / 2, y + height / 2 + 5, text, size=13)
    return 254, "Delivery modes: what a kill of the process costs at each moment"


def sharing(draw: Drawing) -> tuple[float, str]:
    """Draw the three ways in which handlers share events."""
    panels = (
        ("SERVICE_POOL (default): one worker of each service", {0, 2}),
        ("SINGLETON: one worker in all", {1}),
        ("BROADCAST: every worker", {0, 1, 2}),
    )
    for number, (title, receivers) in enumerate(panels):
        y = 12 + 128 * number
        draw.text(10, y + 14, title, anchor="start", bold=True)
        draw.box(10, y + 38, 110, 56, ["one event", "orders.placed"])
        for worker, (service, name) in enumerate(
            (("shipping", "worker 1"), ("shipping", "worker 2"), ("mail", "worker 1"))
        ):
            x = 190 + 125 * worker
            gets = worker in receivers
            draw.box(x, y + 52, 115, 46, [service, name], "ours" if gets else "box")
            if gets:
                draw.arrow(
                    [(120, y + 66), (145, y + 66), (145, y + 30), (x + 57, y + 30), (x + 57, y + 52)],
                    colour="ours-edge",
                )
    return 384, "Three ways of sharing: one worker of each service, one in all, or every worker"


def call(draw: Drawing) -> tuple[float, str]:
    """Draw a call and its answer."""
    caller, broker, worker = 75, 280, 485
    draw.box(10, 10, 130, 44, ["caller", "hub.rpc.world.hello"], "ours")
    draw.box(205, 10, 150, 44, ["RabbitMQ", "queue rpc-world"])
    draw.box(420, 10, 130, 44, ["worker", "evbus run"], "ours")
    for x in (caller, broker, worker):
        draw.rule(x, 54, 296)

    def message(y: float, start: float, end: float, text: str, colour: str = "line", *, dashed: bool = False) -> None:
        draw.arrow([(start, y), (end, y)], colour=colour, dashed=dashed)
        draw.text((start + end) / 2, y - 7, text, size=13)

    message(86, caller, broker, "request, with its deadline")
    message(120, broker, worker, "one worker gets it")
    draw.box(410, 134, 145, 46, ["method runs", "what it puts is safe"], "ours")
    message(212, worker, broker, "result or error")
    message(246, broker, caller, "answer, by its id")
    message(280, worker, broker, "acknowledged")
    for number, text in enumerate(
        (
            "No answer in time: RpcTimeout. The method may have run, or may run yet.",
            "Nobody serves it: UnknownService, at once.",
            "The worker is killed: another one runs the method, unless repeat=False.",
        )
    ):
        draw.text(10, 322 + 20 * number, text, anchor="start", colour="soft", size=13)
    return 374, "A call: the request goes through the queue of the service to one worker, and the answer comes back"


PICTURES: dict[str, Callable[[Drawing], tuple[float, str]]] = {
    "road": road,
    "down": down,
    "modes": modes,
    "sharing": sharing,
    "call": call,
}


def drawn() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file."""
    for name, picture in PICTURES.items():
        for theme, colours in THEMES.items():
            drawing = Drawing(colours)
            height, title = picture(drawing)
            yield f"{name}-{theme}.svg", drawing.svg(height, title)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
