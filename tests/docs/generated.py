"""The generated parts of the pages; `python -m tests.docs.generated` writes them again.

Such a part is enclosed by two comments, `<!-- begin: NAME -->` and `<!-- end: NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.docs import roads
from tests.docs.blocks import DOCS, ROOT
from tests.faults import table
from tests.mutations import listing

PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "faults": (DOCS / "reference/faults.md", table.markdown),
    "mutants": (DOCS / "promises.md", listing.markdown),
    "roads": (ROOT / "CONTRIBUTING.md", lambda: roads.markdown(roads.in_a_process())),
}


def with_part(text: str, name: str, part: str) -> str:
    """Give the text of the page with a new part; raises ValueError if the page has no place for it."""
    place = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"no place for the part {name}: the page needs its two comments")
    return place.sub(lambda match: f"{match[1]}\n{part}\n{match[2]}", text)


def main() -> None:
    """Generate all parts again."""
    for name, (page, make) in PARTS.items():
        page.write_text(with_part(page.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
