"""RabbitMQ's code as it is, placed so that a start takes half the work."""

from collections.abc import Iterator
from pathlib import Path

from .rabbitmq_programs import BIN, ERL

PLUGIN = "rabbitmq_consistent_hash_exchange"  # of RabbitMQ itself, for handlers with shards


def quick_start(folder: Path) -> dict[str, str]:
    """Environment variables for a quick start, and what they name, in `folder`; none where the code is not found.

    Erlang looks for each of a thousand modules in seventy folders, so one folder with links to all of them comes first.
    And RabbitMQ reads the settings and modules of each plugin that it finds, so it finds itself and those in use alone.
    """
    libraries = list(_libraries())
    server = [library for library in libraries if library.name.startswith("rabbit-")]
    if len(server) != 1:
        return {}
    modules, plugins = folder / "modules", folder / "plugins"
    modules.mkdir()
    plugins.mkdir()
    for library in libraries:
        if library == server[0] or library.name.startswith(f"{PLUGIN}-"):
            (plugins / library.name).symlink_to(library)
    found = {module.name: module for library in libraries for module in library.glob("ebin/*.beam")}
    for name, module in found.items():
        (modules / name).symlink_to(module)
    return {"RABBITMQ_SERVER_CODE_PATH": str(modules), "RABBITMQ_PLUGINS_DIR": str(plugins)}


def _libraries() -> Iterator[Path]:
    """The folders of RabbitMQ's libraries and of Erlang's own, these last: where both have a module, theirs is used."""
    yield from sorted((BIN / "rabbitmq-server").resolve().parent.parent.glob("plugins/*-*"))
    yield from sorted(ERL.resolve().parent.parent.glob("lib/*-*"))
