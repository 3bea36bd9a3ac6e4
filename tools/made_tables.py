"""A Sphinx extension for tables that are made from code: `metrics`, `status-schema` and `faults`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from evbus_like.monitor import metrics
from evbus_like.monitor import schema as status_schema
from tests.faults import table


def schema() -> str:
    """Return the JSON Schema of the status document, as a block of code."""
    return f"```json\n{json.dumps(status_schema.schema(), indent=2)}\n```\n"


def metrics_table() -> str:
    """Return the table of all metrics."""
    rows = [f"| `{name}` | {kind} | {labels} | {about} |" for name, kind, labels, about in metrics.table()]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""])


class Made(SphinxDirective):
    """A directive whose content a function makes."""

    makers: ClassVar[dict[str, Callable[[], str]]] = {
        "metrics": metrics_table,
        "status-schema": schema,
        "faults": table.markdown,
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
    return {"parallel_read_safe": True}
