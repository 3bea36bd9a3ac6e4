"""AsyncAPI's official parser, in a folder of its own under .venv, made with npm when it is missing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "requirements" / "asyncapi.json"
MAKE_SECONDS, PARSE_SECONDS = 600, 120
PARSE = """
const fs = require("node:fs");
const { Parser } = require("@asyncapi/parser");
new Parser().parse(fs.readFileSync(0, "utf8")).then(({ document, diagnostics }) => {
  const operations = document ? document.operations().all().map((each) => [each.id(), each.action()]) : [];
  const found = diagnostics.map((each) => ({ severity: each.severity, code: each.code, path: each.path.join("."), message: each.message }));
  console.log(JSON.stringify({ valid: document !== undefined, operations, diagnostics: found }));
});
"""  # noqa: E501


class Unavailable(Exception):
    """The parser cannot be had on this machine; the message says why."""


def parse(document: dict[str, Any]) -> dict[str, Any]:
    """Give what the parser says of a document: valid, operations, diagnostics; raises Unavailable."""
    node = shutil.which("node")
    if node is None:
        raise Unavailable("AsyncAPI's parser needs node: run `python -m tests.brokers install`")
    ran = subprocess.run(
        [node, "-e", PARSE],
        cwd=_folder(),
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=PARSE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _folder() -> Path:
    content = PACKAGE.read_text(encoding="utf-8")
    folder = ROOT / ".venv" / f"asyncapi-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:  # closing it releases it
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side; the first one makes it
        if not (folder / "ready").exists():
            _make(folder, content)
    return folder


def _make(folder: Path, content: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("AsyncAPI's parser needs npm: run `python -m tests.brokers install`")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "package.json").write_text(content, encoding="utf-8")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"]
    ran = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
    if ran.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"npm install @asyncapi/parser failed: {ran.stderr.strip()[-300:]}")
    (folder / "ready").touch()
