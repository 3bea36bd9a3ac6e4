"""A Sphinx extension for tables that are made from code.

These are `metrics`, `status-schema`, `faults`, `settings`, `errors`, and `options NAME`: of a plugin, or a block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from evbus_like import conf, tls
from evbus_like.amqp import settings as amqp
from evbus_like.engine import errors, options
from evbus_like.kafka import connection as kafka
from evbus_like.monitor import metrics
from evbus_like.monitor import schema as status_schema
from evbus_like.postgres import database
from tests.faults import table

# The blocks of options of the page on profiles, with what their names begin with.
BLOCKS: Mapping[str, tuple[str, options.Spec]] = {
    "common": ("", options.COMMON),
    "retry": ("retry.", options.RETRY),
    "amqp-connection": ("connection.", amqp.CONNECTION),
    "declare": ("declare.", amqp.DECLARE),
    "kafka-connection": ("connection.", kafka.CONNECTION),
    "postgres": ("", database.OPTIONS),
    "tls": ("ssl.", tls.OPTIONS),
}
PLUGINS = ("internal", "amqp", "kafka")
WORDS = {str: "text", int: "number", float: "number", bool: "true, false", list: "list", Mapping: "mapping"}


def schema() -> str:
    """Return the JSON Schema of the status document, as a block of code."""
    return f"```json\n{json.dumps(status_schema.schema(), indent=2)}\n```\n"


def metrics_table() -> str:
    """Return the table of all metrics."""
    rows = [f"| `{name}` | {kind} | {labels} | {about} |" for name, kind, labels, about in metrics.table()]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""])


def options_table(name: str) -> str:
    """Return the table of the options of a block, or of a plugin's profiles."""
    prefix, specs = BLOCKS[name] if name in BLOCKS else ("", of_plugin(name))
    rows = [f"| `{prefix}{option}` | {words(kinds)} | {safe(text)} |" for option, (kinds, text) in specs.items()]
    return "\n".join(["| option | type | meaning |", "|---|---|---|", *rows, ""])


def of_plugin(name: str) -> dict[str, tuple[Any, str]]:
    """Return the options of a provider: those of its destination and of its source."""
    found: dict[str, tuple[Any, str]] = {}
    for folder in ("ingress", "egress"):
        found.update(getattr(import_module(f"evbus_like.{folder}.{name}"), "OPTIONS", {}))
    return found


def words(kinds: Any) -> str:
    """Return the types of an option as words."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return " or ".join(dict.fromkeys(WORDS[kind] for kind in kinds if kind in WORDS)) or "object"


def settings_table() -> str:
    """Return the table of all settings that an environment variable can set."""
    specs: Mapping[str, Any] = conf.CONFIG
    rows = [
        f"| `{name}` | `{spec['os']}` | {shown(spec['default'])} | {safe(spec['help'])}{bounds(spec)} |"
        for name, spec in specs.items()
        if "os" in spec
    ]
    return "\n".join(["| setting | environment | default | meaning |", "|---|---|---|---|", *rows, ""])


def shown(default: Any) -> str:
    """Return a default as text; nothing if there is none."""
    if default in (None, []):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def bounds(spec: Mapping[str, Any]) -> str:
    """Return the least and the largest value of a setting."""
    if "longest" in spec:
        return f"; at most {spec['longest']} bytes"
    if "range" not in spec:
        return ""
    least, largest, unit = spec["range"]
    return f"; {least:,} to {largest:,} {unit}"


def safe(text: str) -> str:
    """Return the help of an option, safe in a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def error_tree() -> str:
    """Return the classes of errors as a tree."""

    def below(kind: type[Exception], indent: str) -> Iterator[str]:
        children = [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
        for child in children:
            last = child is children[-1]
            yield f"{indent}{'└──' if last else '├──'} {child.__name__}"
            yield from below(child, indent + ("    " if last else "│   "))

    return "\n".join(["```text", "EvbusError", *below(errors.EvbusError, ""), "```", ""])


class Options(SphinxDirective):
    """The directive `options`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the table."""
        node = nodes.container()
        lines = options_table(self.arguments[0]).splitlines()
        self.state.nested_parse(StringList(lines, source="options"), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


class Made(SphinxDirective):
    """A directive whose content a function makes."""

    makers: ClassVar[dict[str, Callable[[], str]]] = {
        "metrics": metrics_table,
        "status-schema": schema,
        "faults": table.markdown,
        "settings": settings_table,
        "errors": error_tree,
    }

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown that is made."""
        node = nodes.container()
        lines = self.makers[self.name]().splitlines()
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    for name in Made.makers:
        app.add_directive(name, Made)
    app.add_directive("options", Options)
    return {"parallel_read_safe": True}
