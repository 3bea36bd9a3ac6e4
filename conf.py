"""The Sphinx configuration. Run from the repository's root: make docs."""

from pathlib import Path

scope: dict[str, str] = {}
exec((Path(__file__).parent / "evbus_like" / "version.py").read_text(encoding="utf-8"), scope)

project = "evbus_like"
release = version = scope["version"]
extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "tools.api_reference",
    "tools.command_reference",
    "tools.made_tables",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
add_module_names = True
smartquotes = False  # options such as --only, and quotes in commands, stay as they are typed
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = f"evbus_like {release}"
html_copy_source = False
html_static_path = ["docs/_static"]
html_css_files = ["tables.css"]
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a3ffc", "color-brand-content": "#6929c4"},
    "dark_css_variables": {"color-brand-primary": "#be95ff", "color-brand-content": "#be95ff"},
}
