"""The roads listed in CONTRIBUTING stay short; test_promises.py keeps the lists up to date."""

import pytest

from tests.docs import roads
from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def listed():
    """The numbers of files that CONTRIBUTING lists, by the titles of the lists."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.partition("<!-- begin: roads -->")[2].partition("<!-- end: roads -->")[0]
    return {title: part.partition(f"{title}:")[2].strip().partition("\n\n")[0] for title in roads.TITLES.values()}


@pytest.mark.parametrize("name", roads.TITLES)
def test_a_road_passes_no_more_files_than_allowed(name, listed):
    files = listed[roads.TITLES[name]].splitlines()
    assert 0 < len(files) <= roads.MOST[name]
