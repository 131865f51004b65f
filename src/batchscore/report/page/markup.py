"""How is untrusted text written in HTML, and in JSON in HTML, so that it stays text?

Pure. Names of files and ids come from others. Invisible characters, and those that change the direction of
the text, are shown by their number. Everything with a meaning in HTML is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import orjson

from batchscore.errors import visible

#: Shown for an empty value.
NOTHING = "\u2013"

#: Escapes in JSON, so that nothing in it can end its script element.
_IN_HTML = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is already HTML; everything else is escaped."""

    text: str

    def __str__(self) -> str:
        return self.text


def html(value: Any) -> str:
    """Return a value as HTML: `Html` unchanged, everything else escaped."""
    if isinstance(value, Html):
        return value.text
    return escape(visible(str(value)), quote=True)


def name(text: str | None) -> Html | None:
    """Return a name of others, which may be written from right to left; `None` if there is none."""
    return None if text is None else Html(f"<bdi>{html(text)}</bdi>")


def data(value: Any) -> str:
    """Return JSON for a script element."""
    found = orjson.dumps(value)
    for sign, words in _IN_HTML:
        found = found.replace(sign, words)
    return found.decode().replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def element(tag: str, *content: Any, **attributes: str) -> Html:
    """Return an element; `class_` loses its last `_`, other `_` become `-`."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    written = "".join(f' {names[key]}="{html(value)}"' for key, value in attributes.items())
    return Html(f"<{tag}{written}>{concat(content)}</{tag}>")


def concat(parts: Iterable[Any], between: str = "") -> Html:
    """Return several values as HTML, one after the other."""
    return Html(between.join(html(part) for part in parts))


def table(caption: str, columns: str, rows: Sequence[Sequence[Any]]) -> Html:
    """Return a table that scrolls if it is too wide, or nothing if it has no rows.

    `columns` are their heads, separated by `, `. A head may end in `:` and a key of `KINDS`.
    """
    if not rows:
        return Html("")
    head, kinds = [], []
    for each in columns.split(", "):
        text, _, kind = each.partition(":")
        kinds.append(kind)
        head.append(element("th", text, scope="col", class_="figure" if kind == "n" else "words"))
    body = (element("tr", *(cell(*each) for each in zip(row, kinds, strict=True))) for row in rows)
    lines = (element("thead", element("tr", *head)), element("tbody", *body))
    inner = element("table", *lines, aria_label=caption)
    scroll = element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    # The caption is outside of what scrolls: in it, a wide table would cut the caption on a narrow screen.
    return element("div", element("p", caption, class_="caption"), scroll, class_="card")


#: Classes of cells: numbers, which are right-aligned, text on one line, and sentences.
KINDS = {"n": "figure", "o": "once", "l": "long"}


def cell(value: Any, kind: str) -> Html:
    """Return one cell; counts get their separators."""
    shown = NOTHING if value is None else f"{value:,}" if isinstance(value, int) else value
    return element("td", shown, class_=KINDS[kind]) if kind else element("td", shown)


def bar(share: float) -> Html:
    """Return a bar that shows a share; screen readers skip it."""
    width = f"{min(max(share, 0.0), 1.0) * 100:.1f}"
    return Html(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="8"/><rect class="filled" width="{width}" height="8"/></svg>'
    )


def details(title: str, content: Any, *, is_open: bool = False) -> Html:
    """Return content that the reader can unfold."""
    start = "<details open>" if is_open else "<details>"
    return Html(f"{start}<summary>{html(title)}</summary>{html(content)}</details>")
