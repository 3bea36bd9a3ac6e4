"""Check who imports whom: no circles, no hub in the engine and the backends, only public modules for users.

It also looks whether the files exist that tests say they are about.

`python -m tools.check_house` prints every violation and exits with 1 where there is one. `--graph` prints the number of
files, rooms (files and folders directly in a folder), arrows (imports between rooms) and floors (the longest chain of
them) of every folder instead.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.imports import Import, circles, floors, imports, modules

PACKAGE = "evbus_like"
BACKENDS = ("memory", "amqp", "kafka", "postgres")
SPEEDUPS = f"{PACKAGE}.speedups"
PUBLIC = ("errors", "plugin", "handlers", "workers", "testing", "testing.conformance")
FACE = [f"{PACKAGE}.{name}" for name in PUBLIC]
CLI_USERS = [f"{PACKAGE}.{name}" for name in ("cli", "scripts", "__main__")]
PYTHON = re.compile(r"^(?P<indent> *)```(?:\{code-block\} *)?python\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^:\w+:.*", re.MULTILINE)  # of a code-block directive
PROMPT = re.compile(r"^(?:>>>|\.\.\.) ?", re.MULTILINE)
MENTION = re.compile(rf"\b{PACKAGE}\.(\w+(?:\.\w+)*)")
SUBJECT = re.compile(r"\b(?:\w+/)+\w+\.py\b")
USERS = (
    "README.md",
    "docs/**/*.md",
    "examples/**/*.md",
    "examples/**/*.py",
    "tests/conformance/**/*.py",
    "tests/integration/apps/**/*.py",
)
MOST = {"engine": {"floors": 11, "arrows": 140}}  # annotations and imports in functions count, too


def within(module: str, *folders: str) -> bool:
    """Whether a module is one of these, or in one of these packages."""
    return any(module == each or module.startswith(f"{each}.") for each in folders)


class House:
    """The modules of the package below a root, and the arrows between them: {module: {imported module: line}}."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = modules(root, PACKAGE)
        self.arrows: dict[str, dict[str, int]] = {}
        for module, path in self.modules.items():
            parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
            targets = self.arrows[module] = {}
            for each in imports(path.read_text(encoding="utf-8"), parent):
                if within(each.module, PACKAGE):  # a folder without __init__.py is no module, but can be imported
                    targets.setdefault(each.resolved(self.modules) or each.full, each.line)

    def where(self, path: Path, line: int) -> str:
        """Give a place as compilers do."""
        return f"{path.relative_to(self.root)}:{line}"

    def wrong(self, is_wrong: Callable[[str, str], bool], reason: str) -> Iterator[str]:
        """Yield a message for each arrow that a rule forbids."""
        for module, targets in self.arrows.items():
            for to, line in targets.items():
                if is_wrong(module, to):
                    yield f"{self.where(self.modules[module], line)}: imports {to}; {reason}"


def circle(house: House) -> Iterator[str]:
    """No import circle between modules."""
    for group in circles(house.arrows):
        for module in group:
            for to in sorted(set(group) & set(house.arrows[module])):
                place = house.where(house.modules[module], house.arrows[module][to])
                yield f"{place}: imports {to}, which imports it in turn, a circle of {len(group)} modules"


def engine(house: House) -> Iterator[str]:
    """The engine imports nothing else of the package, but for speedups, which import nothing of it."""
    inside = f"{PACKAGE}.engine"
    yield from house.wrong(
        lambda module, to: within(module, inside) and not within(to, inside, SPEEDUPS),
        "engine/ imports nothing outside engine/ and speedups/",
    )
    yield from house.wrong(
        lambda module, to: within(module, SPEEDUPS) and not within(to, SPEEDUPS),
        "speedups/ imports nothing of the package",
    )


def backends(house: House) -> Iterator[str]:
    """A backend, the supervisor of processes and the monitor import only the engine, tls, speedups and themselves."""
    for name in (*BACKENDS, "tls", "processes", "monitor"):
        inside = f"{PACKAGE}.{name}"

        def is_wrong(module: str, to: str, inside: str = inside) -> bool:
            return within(module, inside) and not within(to, f"{PACKAGE}.engine", f"{PACKAGE}.tls", SPEEDUPS, inside)

        yield from house.wrong(is_wrong, f"{name} imports only engine/, tls, speedups/ and itself")


def command(house: House) -> Iterator[str]:
    """Only cli/, scripts.py and __main__.py import cli/."""
    yield from house.wrong(
        lambda module, to: within(to, f"{PACKAGE}.cli") and not within(module, *CLI_USERS),
        "nothing outside cli/ needs it",
    )


def face(house: House) -> Iterator[str]:
    """Docs, examples, conformance tests and test applications import only public modules."""
    for path in sorted({path for pattern in USERS for path in house.root.glob(pattern)}):
        if "_build" in path.parts:
            continue
        found = {(each.line, each.full if each.module == PACKAGE else each.module) for each in used(path)}
        for line, module in sorted(found):
            if within(module, PACKAGE) and module not in (PACKAGE, *FACE):
                yield f"{house.where(path, line)}: imports {module}, which is not public"


def used(path: Path) -> Iterator[Import]:
    """Yield the imports of a source file, or of the Python blocks of a Markdown page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from imports(text)
        return
    for block in PYTHON.finditer(text):
        body = re.sub(rf"^{block['indent']}", "", block["body"], flags=re.MULTILINE)
        body = OPTION.sub("", body)
        if body.startswith(">>>"):
            body = "\n".join(PROMPT.sub("", line) if PROMPT.match(line) else "" for line in body.splitlines())
        first = text.count("\n", 0, block.start("body"))
        for each in imports(body):
            yield Import(first + each.line, each.module, each.name)


def contracts(house: House) -> Iterator[str]:
    """The contracts mention only public modules."""
    for path in sorted(house.root.glob(f"{PACKAGE}/*/contracts/*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in MENTION.finditer(line):
                if match[1].split(".")[0] not in PUBLIC:
                    yield f"{house.where(path, number)}: mentions {match[0]}, which is not public"


def subjects(house: House) -> Iterator[str]:
    """The files of the package that the first line of a test names exist."""
    for path in sorted(house.root.glob("tests/**/test_*.py")):
        first, _, _ = path.read_text(encoding="utf-8").partition("\n")
        for name in SUBJECT.findall(first):
            if not any((house.root / folder / name).is_file() for folder in (PACKAGE, "")):
                yield f"{house.where(path, 1)}: names {name}, which does not exist"


def sizes(house: House) -> Iterator[str]:
    """No folder has more floors or arrows than it may."""
    for folder, measures, _ in graph(house):
        for name, most in MOST.get(folder, {}).items():
            if measures[name] > most:
                yield f"{PACKAGE}/{folder}/ has {measures[name]} {name}, and may have {most}; --graph counts them"


RULES = (circle, engine, backends, command, face, contracts, subjects, sizes)


def violations(root: Path) -> dict[str, list[str]]:
    """Give the messages of all rules, by what each rule says."""
    house = House(root)
    return {str(rule.__doc__): list(rule(house)) for rule in RULES}


def graph(house: House) -> Iterator[tuple[str, dict[str, int], list[list[str]]]]:
    """Yield every folder of the package with its measures and the circles between its rooms."""
    folders = sorted({module.rpartition(".")[0] for module in house.modules} - {""})
    for folder in folders:
        inside = [module for module in house.modules if module.startswith(f"{folder}.")]

        def room(module: str, folder: str = folder) -> str:
            return module.removeprefix(f"{folder}.").split(".")[0]

        rooms: dict[str, set[str]] = {room(module): set() for module in inside}
        for module in inside:
            rooms[room(module)] |= {room(to) for to in house.arrows[module] if to in inside} - {room(module)}
        measures = {"files": sum(house.modules[module].name != "__init__.py" for module in inside), "rooms": len(rooms)}
        measures |= {"arrows": sum(map(len, rooms.values())), "floors": floors(rooms)}
        yield folder.removeprefix(f"{PACKAGE}."), measures, circles(rooms)


def main(arguments: list[str] | None = None) -> int:
    """Print what is asked for, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.check_house", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="the folder that holds evbus_like/"
    )
    parser.add_argument("--graph", action="store_true", help="measure every folder instead")
    options = parser.parse_args(arguments)
    if options.graph:
        for folder, measures, round_about in graph(House(options.root)):
            most = "".join(f"; at most {number} {name}" for name, number in MOST.get(folder, {}).items())
            print(f"{folder}: {', '.join(f'{number} {name}' for name, number in measures.items())}{most}")
            for group in round_about:
                print(f"    circle of rooms: {', '.join(group)}")
        return 0
    found = violations(options.root)
    for rule, messages in found.items():
        if messages:
            print(f"{rule} {len(messages)} violations:", *messages, "", sep="\n")
    if any(found.values()):
        print(f"public are {', '.join(FACE)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
