"""The pictures of the pages are those that the scripts draw now."""

import json
import re

import pytest

from benchmarks import chart, growth, growth_chart
from benchmarks.curves import CURVES
from tests.docs.blocks import DOCS, ROOT
from tests.docs.generated import latest
from tools import pictures

DRAWN = dict(pictures.drawn())


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_the_one_that_the_script_draws(name):
    assert (pictures.FOLDER / name).read_text(encoding="utf-8") == DRAWN[name], "run: python -m tools.pictures"


@pytest.mark.parametrize("theme", chart.PALETTES)
def test_the_chart_shows_the_last_full_benchmark(theme):
    drawn = chart.draw(latest(), theme)
    assert (pictures.FOLDER / f"performance-{theme}.svg").read_text(encoding="utf-8").strip() == drawn.strip()


@pytest.mark.parametrize("theme", chart.PALETTES)
def test_nothing_of_the_chart_is_cut_off(theme):
    drawn = chart.draw(latest(), theme)
    width, height = (int(number) for number in re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
    for x, y, anchor, text in re.findall(r'<text[^>]* x="([\d.]+)" y="(\d+)"(?: text-anchor="(\w+)")?>([^<]*)<', drawn):
        long = 6.4 * len(text)  # as wide as 13 px are
        start = float(x) - (long if anchor == "end" else 0)
        assert start >= 0, text
        assert start + long <= width, text
        assert int(y) < height, text


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("theme", growth_chart.THEMES)
def test_a_curve_shows_the_last_full_run_and_is_on_its_page(name, theme):
    found = json.loads((growth.RESULTS / "growth.json").read_text(encoding="utf-8"))[name]["figures"]
    file = f"growth-{name}-{theme}.svg"
    assert (pictures.FOLDER / file).read_text(encoding="utf-8") == growth_chart.draw(CURVES[name], found, theme)
    assert f"pictures/{file}" in (DOCS / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_every_picture_is_on_a_page_for_light_and_for_dark(name):
    pages = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *DOCS.glob("*.md")])
    for theme in pictures.THEMES:
        assert f"pictures/{name}-{theme}.svg" in pages
