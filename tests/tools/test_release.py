"""What `make release` writes into the package: a README that an index can show, and the project's URLs."""

import tomllib

from tests.docs.blocks import ROOT
from tools.release import files_of, for_index, with_urls

URL = "https://host.example/owner/name"
README = """# x

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="docs/dark.svg">
  <img src="docs/light.svg" alt="a picture">
</picture>

See [a page](docs/page.md#part), [here](#x), [outside](https://else.example/) and ![a chart](docs/chart.svg).
"""


def test_with_a_url_every_link_of_the_readme_is_absolute():
    text = for_index(README, URL, "1.2.3")
    assert f"[a page]({URL}/blob/v1.2.3/docs/page.md#part)" in text
    assert f'srcset="{URL}/raw/v1.2.3/docs/dark.svg"' in text
    assert f"![a chart]({URL}/raw/v1.2.3/docs/chart.svg)" in text
    assert "[here](#x), [outside](https://else.example/)" in text


def test_without_a_url_the_readme_keeps_its_text_and_loses_links_that_lead_nowhere():
    text = for_index(README, None, "1.2.3")
    assert text == "# x\n\nSee a page, [here](#x), [outside](https://else.example/) and .\n"


def test_no_relative_link_of_our_readme_is_left():
    ours = for_index((ROOT / "README.md").read_text(encoding="utf-8"), URL, "1.2.3")
    assert "](docs/" not in ours
    assert '="docs/' not in ours


def test_the_urls_are_part_of_the_metadata():
    project = tomllib.loads(with_urls((ROOT / "pyproject.toml").read_text(encoding="utf-8"), URL))["project"]
    assert project["urls"]["Source"] == URL
    assert project["scripts"]["evbus"] == "evbus_like.scripts:start"


def test_the_source_distribution_has_what_its_makefile_names():
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    for folder in ("tests", "tools", "docs", "requirements", "benchmarks", "deploy", "examples", ".ci"):
        assert f"graft {folder}\n" in manifest


def test_a_wheel_is_tried_with_the_files_that_the_readme_shows():
    files = dict(files_of((ROOT / "README.md").read_text(encoding="utf-8")))
    assert set(files) == {"shop/conf.py", "shop/handler/shipping.py", "sell.py", "credentials.yml"}
    assert files["shop/conf.py"] == 'DYNE = {"handler": ["handler"]}\n'
