"""Sphinx: makes the site of these pages, `sphinx-build -W -b html docs build/site`."""

project = "taskfarmer_mpi"
extensions = ["myst_parser"]
myst_heading_anchors = 4
exclude_patterns = ["images", "packaging", "changelog.d"]
html_theme = "furo"
html_title = project
html_static_path: list[str] = []
