"""The page of features: each row names a test that exists, or says why the feature is absent."""

import re

import pytest

from tests.docs.blocks import DOCS
from tests.docs.test_promises import NAMED, functions

PAGE = (DOCS / "features.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| feature |")]
SEEDS = ("pop-evbus", "nameko", "lightbus", "tavrida", "What users ask for most")


def section(name):
    return re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize("name", SEEDS)
def test_every_system_has_a_table(name):
    assert len([line for line in section(name).splitlines() if line in ROWS]) >= 10


def test_every_test_named_on_the_page_exists():
    named = NAMED.findall(PAGE)
    assert len(named) >= len(ROWS)
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_every_feature_has_a_test_or_says_why_it_is_absent():
    for row in ROWS:
        feature, here, tests = (cell.strip() for cell in row.strip("|").split(" |"))
        assert feature
        if here.startswith("**Absent**: "):
            assert len(here) > len("**Absent**: ") + 20, row
            assert tests == "", row
        else:
            assert here, row
            assert NAMED.search(tests), row
