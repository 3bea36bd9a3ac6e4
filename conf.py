"""The Sphinx configuration. Run from the repository's root: make docs."""

from pathlib import Path

scope: dict[str, str] = {}
exec((Path(__file__).parent / "evbus_like" / "version.py").read_text(encoding="utf-8"), scope)

project = "evbus_like"
release = version = scope["version"]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"evbus_like {release}"
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a3ffc", "color-brand-content": "#6929c4"},
    "dark_css_variables": {"color-brand-primary": "#be95ff", "color-brand-content": "#be95ff"},
}
