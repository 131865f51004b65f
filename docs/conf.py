"""How do the pages become a site? `make site` builds it. GitHub shows the same pages without changes.

The menu has the lists of the front page, in their order. A page that is in none of the lists is an error.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

VERSION = Path(__file__).parents[1] / "src" / "batchscore" / "version.py"

project = "batchscore"
author = "The batchscore authors"
release = version = runpy.run_path(str(VERSION))["VERSION"]

extensions = ["myst_parser"]
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # flags keep their two dashes

html_theme = "furo"
html_title = f"batchscore {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "github-dark"


def menu_of(front_page: str) -> str:
    """Return the menu as MyST `toctree` blocks: one per heading, with the pages that its list links."""
    parts = re.split(r"^## (.+)\n", front_page, flags=re.MULTILINE)[1:]
    blocks = []
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        listed = re.findall(r"^- \[([^]]+)\]\(([^)]+)\.md\)", body, re.MULTILINE)
        pages = [f"{title} <{page}>" for title, page in listed]
        blocks.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```\n"]))
    return "\n".join(blocks)


def add_menu(_app: Any, page: str, source: list[str]) -> None:
    """Add the menu to the front page. It is not in the file, because GitHub would show its source."""
    if page == "index":
        source[0] += "\n" + menu_of(source[0])


def setup(app: Any) -> None:
    """Register this extension with Sphinx."""
    app.connect("source-read", add_menu)
