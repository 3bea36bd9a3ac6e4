"""tools/check_house.py: each rule finds what it forbids in a small tree, and the measures are right."""

import pytest

from tools import check_house

CLEAN = {
    "evbus_like/__init__.py": "",
    "evbus_like/scripts.py": "from evbus_like.cli import main",
    "evbus_like/__main__.py": "from evbus_like import scripts\nimport evbus_like.cli.main",
    "evbus_like/errors.py": "from evbus_like.engine import errors",
    "evbus_like/tls.py": "import ssl\nfrom evbus_like.engine import errors",
    "evbus_like/engine/__init__.py": "",
    "evbus_like/engine/errors.py": "import asyncio",
    "evbus_like/engine/bus.py": "from .errors import Full\nfrom evbus_like.speedups import fastest",
    "evbus_like/speedups/__init__.py": "import_module('evbus_like.speedups._built')",
    "evbus_like/memory/queue.py": "from evbus_like.engine.bus import Bus",
    "evbus_like/amqp/wire.py": "from evbus_like import tls",
    "evbus_like/amqp/link.py": "from evbus_like.amqp import wire",
    "evbus_like/kafka/link.py": "from evbus_like.engine import bus\nfrom evbus_like import speedups",
    "evbus_like/hub/start.py": "from evbus_like.amqp import link\nfrom evbus_like.engine import bus",
    "evbus_like/cli/main.py": "from evbus_like.cli import run",
    "evbus_like/cli/run.py": "from evbus_like.hub import start",
    "evbus_like/ingress/contracts/init.py": '"""Raises `evbus_like.errors.Full`."""',
    "README.md": "```python\nfrom evbus_like import handlers as evbus\n```\n",
    "docs/plugins.md": "```python\nfrom evbus_like.testing.conformance import Suite\n```\n",
    "docs/internals.md": "`evbus_like.engine` is not for users.\n\n```text\nimport evbus_like.engine\n```\n",
    "docs/_build/copy.md": "```python\nimport evbus_like.engine\n```\n",
    "examples/one.py": "import evbus_like.errors, evbus_like.plugin\nfrom evbus_like.testing import running",
    "tests/conformance/test_one.py": "from tests import brokers",
    "tests/unit/test_bus.py": '"""engine/bus.py and evbus_like/errors.py: a bus."""\nfrom evbus_like.engine import bus',
}


@pytest.fixture
def check(tmp_path, capsys):
    """A function that checks the clean tree with some files changed, and gives the exit code and what was printed."""

    def run(changed, *options):
        for name, text in {**CLEAN, **changed}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        code = check_house.main(["--root", str(tmp_path), *options])
        return code, capsys.readouterr().out

    return run


def test_a_clean_tree_passes_in_silence(check):
    assert check({}) == (0, "")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("evbus_like/engine/bus.py", "import evbus_like.hub.start", "bus.py:1: imports evbus_like.hub.start; engine/"),
        ("evbus_like/engine/bus.py", "import evbus_like.ingress", "bus.py:1: imports evbus_like.ingress; engine/"),
        ("evbus_like/engine/bus.py", "from evbus_like import errors", "bus.py:1: imports evbus_like.errors; engine/"),
        ("evbus_like/engine/bus.py", "from ..amqp.link import X", "bus.py:1: imports evbus_like.amqp.link; engine/"),
        (
            "evbus_like/memory/queue.py",
            "\nfrom evbus_like.hub import start",
            "queue.py:2: imports evbus_like.hub.start",
        ),
        ("evbus_like/kafka/link.py", "from evbus_like.amqp import wire", "kafka imports only engine/, tls, spee"),
        ("evbus_like/amqp/wire.py", "import evbus_like.ingress.contracts.init", "amqp imports only engine/"),
        ("evbus_like/tls.py", "from evbus_like.memory import queue", "tls imports only engine/"),
        ("evbus_like/speedups/__init__.py", "from evbus_like.engine import bus", "speedups/ imports nothing of"),
        (
            "evbus_like/hub/start.py",
            "def f():\n    from evbus_like.cli import main",
            "start.py:2: imports evbus_like.cli",
        ),
        ("evbus_like/hub/start.py", "import_module('evbus_like.cli.run')", "start.py:1: imports evbus_like.cli.run"),
        ("evbus_like/testing/bus.py", "import evbus_like.cli.run", "bus.py:1: imports evbus_like.cli.run"),
        (
            "README.md",
            "a\n```python\nimport evbus_like.engine.bus\n```\n",
            "README.md:3: imports evbus_like.engine.bus",
        ),
        (
            "docs/a.md",
            "- b\n\n  ```python\n  from evbus_like.tls import X\n  ```\n",
            "docs/a.md:4: imports evbus_like.tls",
        ),
        (
            "docs/a.md",
            "```{code-block} python\n:caption: a.py\n\nfrom evbus_like.hub import X\n```\n",
            "docs/a.md:4: imports evbus_like.hub",
        ),
        ("docs/a.md", "```python\n>>> import evbus_like.hub\n1\n```\n", "docs/a.md:2: imports evbus_like.hub"),
        ("examples/one.py", "from evbus_like import engine", "examples/one.py:1: imports evbus_like.engine"),
        (
            "examples/one.py",
            "from evbus_like.testing.bus import X",
            "one.py:1: imports evbus_like.testing.bus",
        ),
        ("tests/conformance/test_one.py", "import evbus_like.kafka", "test_one.py:1: imports evbus_like.kafka"),
        ("tests/conformance/plugins/a/b.py", "import evbus_like.tls", "b.py:1: imports evbus_like.tls"),
        ("tests/integration/apps/a/b.py", "import evbus_like.engine", "b.py:1: imports evbus_like.engine"),
        (
            "evbus_like/egress/contracts/init.py",
            '"""A page.\n\nSee evbus_like.engine.event.Event."""',
            "init.py:3: mentions evbus_like.engine.event.Event",
        ),
        ("tests/unit/test_bus.py", '"""engine/buses.py: a bus."""', "test_bus.py:1: names engine/buses.py"),
    ],
)
def test_what_a_rule_forbids_is_named_with_its_place(check, path, text, message):
    code, printed = check({path: text})
    assert code == 1
    assert message in printed


@pytest.mark.parametrize(
    "text",
    [
        "from evbus_like.engine.bus import Bus",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from evbus_like.engine import bus",
        "def f():\n    import evbus_like.engine.bus",
    ],
)
def test_a_circle_is_found_also_in_annotations_and_functions(check, text):
    code, printed = check({"evbus_like/engine/errors.py": text})
    assert code == 1
    assert "evbus_like/engine/bus.py:1: imports evbus_like.engine.errors" in printed
    assert printed.count("a circle of 2 modules") == 2


def test_a_circle_of_three_modules_is_found(check):
    two = "evbus_like/engine/two.py"
    _, printed = check({"evbus_like/engine/errors.py": "from . import two", two: "from . import bus"})
    assert printed.count("a circle of 3 modules") == 3


def test_the_graph_counts_rooms_arrows_and_floors(check):
    # Given a room that is a folder, and two files of one room that import the same
    more = {"a": "from . import b", "b": "import evbus_like.engine.errors"}
    code, printed = check({f"evbus_like/engine/sending/{name}.py": text for name, text in more.items()}, "--graph")
    assert code == 0
    lines = [line for line in printed.splitlines() if line.startswith("engine")]
    assert lines == [
        "engine: 4 files, 3 rooms, 2 arrows, 2 floors; at most 11 floors; at most 140 arrows",
        "engine.sending: 2 files, 2 rooms, 1 arrows, 2 floors",
    ]


def test_a_folder_with_more_arrows_than_it_may_have_is_named(check, monkeypatch):
    monkeypatch.setitem(check_house.MOST, "engine", {"floors": 11, "arrows": 0})
    code, printed = check({})
    assert code == 1
    assert "evbus_like/engine/ has 1 arrows, and may have 0; --graph counts them" in printed


def test_the_graph_shows_circles_between_folders_and_counts_them_as_one_floor(check):
    one, two = "evbus_like/engine/one", "evbus_like/engine/two"
    files = {f"{one}/a.py": "import evbus_like.engine.two.a", f"{one}/b.py": "", f"{two}/a.py": ""}
    _, printed = check({**files, f"{two}/b.py": "import evbus_like.engine.one.b"}, "--graph")
    assert "engine: 6 files, 4 rooms, 3 arrows, 2 floors" in printed
    assert "circle of rooms: one, two" in printed
