"""The page of `evbus schema --html`: an AsyncAPI document as one HTML file, without scripts and foreign addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1.5rem}
h1 small{font-weight:normal;opacity:.7}
article{border:1px solid var(--line);border-radius:.5rem;margin:1rem 0;padding:.2rem 1rem .8rem}
h3{margin:.6rem 0;overflow-wrap:anywhere}
code,pre{font:.875em/1.45 ui-monospace,monospace}
pre{background:var(--soft);border-radius:.4rem;overflow:auto;padding:.6rem}
table{border-collapse:collapse;display:block;margin:.6rem 0;overflow:auto}
th,td{border-bottom:1px solid var(--line);padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top}
p.about{white-space:pre-line}
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title} <small>{version}</small></h1>
{body}
<details><summary>The AsyncAPI document</summary><pre>{document}</pre></details>
</body>
</html>"""
GROUPS = (("send.", "Sends"), ("receive.", "Receives"), ("serve.", "Serves"))
MOST_DEPTH = 8  # of a type's name


def page(document: Mapping[str, Any]) -> str:
    """Return the page; every text of the document is escaped."""
    return PAGE.format(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        style=STYLE,
        body="\n".join(_groups(document)),
        document=escape(json.dumps(document, indent=2, default=str)),
    )


def _groups(document: Mapping[str, Any]) -> Iterator[str]:
    operations: Mapping[str, Any] = document["operations"]
    for prefix, title in GROUPS:
        found = {name: each for name, each in sorted(operations.items()) if name.startswith(prefix)}
        links = " · ".join(f'<a href="#{escape(name)}">{escape(name.removeprefix(prefix))}</a>' for name in found)
        yield f"<h2>{title}</h2>\n<p>{links or 'Nothing.'}</p>"
        for name, operation in found.items():
            yield _article(document, name, operation)


def _article(document: Mapping[str, Any], name: str, operation: Mapping[str, Any]) -> str:
    channel = _at(document, operation["channel"]["$ref"])
    message = _at(document, _at(document, operation["messages"][0]["$ref"])["$ref"])
    title = operation.get("title") or message["title"]
    about = operation.get("description") or message.get("description") or ""
    rows = [("address", channel["address"]), ("where", channel["description"])]
    if "x-queue" in operation:
        rows.append(("queue, or group", operation["x-queue"]))
    if name.startswith("receive."):
        rows.insert(0, ("event", message["title"]))
    body = _resolved(document, message["payload"])
    if name.startswith("serve."):
        body = _resolved(document, body["properties"]["kwargs"])
    parts = [f'<article id="{escape(name)}"><h3>{escape(title)}</h3>']
    parts += [f'<p class="about">{escape(about)}</p>'] if about else []
    cells = "".join(f"<tr><th>{escape(what)}</th><td><code>{escape(str(text))}</code></td></tr>" for what, text in rows)
    parts.append(f"<table>{cells}</table>")
    parts.append(_fields(document, body))
    return "\n".join([*parts, "</article>"])


def _fields(document: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Return the table of the names of a body, and its schema."""
    if not body.get("properties"):
        return "<p>Its names are not declared.</p>" if "properties" not in body else "<p>It has no names.</p>"
    rows = []
    for name, each in body["properties"].items():
        needed = "required" if name in body.get("required", ()) else f"default {json.dumps(each.get('default'))}"
        rows.append(
            f"<tr><td><code>{escape(name)}</code></td><td><code>{escape(_type(each))}</code></td>"
            f"<td>{escape(needed)}</td><td>{escape(str(each.get('description', '')))}</td></tr>"
        )
    table = f"<table><tr><th>name</th><th>type</th><th></th><th></th></tr>{''.join(rows)}</table>"
    schema = escape(json.dumps(body, indent=2, default=str))
    return f"{table}\n<details><summary>JSON Schema</summary><pre>{schema}</pre></details>"


def _type(schema: Mapping[str, Any], depth: int = 0) -> str:
    """Return a short name of a schema's type."""
    if depth > MOST_DEPTH:
        return "..."
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].rpartition(".")[2]
    if "anyOf" in schema:
        return " | ".join(_type(each, depth + 1) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    found = schema.get("type", "any")
    if found == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {_type(schema['items'], depth + 1)}"
    plain = " | ".join(found) if isinstance(found, list) else str(found)
    return f"{plain} ({schema['format']})" if "format" in schema else plain


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _at(document, schema["$ref"]) if "$ref" in schema else schema
    return found


def _at(document: Mapping[str, Any], ref: str) -> Any:
    found: Any = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found
