"""The page of promises: each has a test, every test named on it exists, and its generated parts are up to date."""

import ast
import re
from functools import cache

import pytest

from tests.docs.blocks import DOCS, ROOT
from tests.docs.generated import PARTS, with_part
from tests.faults import table

PAGE = (DOCS / "promises.md").read_text(encoding="utf-8")
FAULTS = table.markdown()
NAMED = re.compile(r"([\w/]+\.py)`?(?:::|<br>`)(test_\w+)")


@cache
def functions(file):
    path = ROOT / file
    assert path.is_file(), f"there is no {file}"
    return {getattr(node, "name", None) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}


def promises():
    """The bullets under `## What is promised`, each with the lines that belong to it."""
    section = re.search(r"^## What is promised\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"^- .*(?:\n  .*)*", section, re.MULTILINE)


@pytest.mark.parametrize("text", [PAGE, FAULTS], ids=["promises", "faults"])
def test_every_test_named_on_the_page_exists(text):
    named = NAMED.findall(text)
    assert len(named) >= 40
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_every_promise_has_a_test():
    assert len(promises()) >= 30
    assert [promise for promise in promises() if not NAMED.search(promise)] == []


@pytest.mark.parametrize("name", PARTS)
def test_every_generated_part_of_a_page_is_up_to_date(name):
    page, make = PARTS[name]
    text = page.read_text(encoding="utf-8")
    assert with_part(text, name, make()) == text, "run: python -m tests.docs.generated"


def test_a_page_without_the_comments_around_a_generated_part_is_an_error():
    with pytest.raises(ValueError, match="no place for the part x"):
        with_part("# A page\n", "x", "text")


def test_every_cell_of_the_comparison_has_a_source_or_says_that_none_was_found():
    section = re.search(r"^## Beside others\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in section.splitlines() if line.startswith("|")]
    cells = [cell for row in rows if row[0] not in ("asked", "---") for cell in row[1:]]
    assert len(cells) == 9 * 4
    assert [cell for cell in cells if not re.search(r"\]\[[\w-]+\]|\]\(#[\w-]+\)|not stated", cell)] == []
    used = set(re.findall(r"\]\[([\w-]+)\]", section))
    assert used == set(re.findall(r"^\[([\w-]+)\]: http", section, re.MULTILINE))
