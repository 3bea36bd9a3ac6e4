"""Each file of deploy/ is named on a page."""

import pytest

from tests.deploy.programs import DEPLOY, ROOT
from tests.docs.blocks import DOCS

FILES = sorted(path.relative_to(ROOT) for path in DEPLOY.rglob("*") if path.is_file())
PAGES = "".join((DOCS / name).read_text() for name in ("deployment.md", "operations.md"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_each_file_is_named_on_a_page(file):
    assert f"](../{file})" in PAGES or f"`{file.name}`" in PAGES
