"""How does text that anybody may have written stand in HTML, and in JSON in HTML, as nothing but text?

Pure. Names of files and ids are other people's words. Characters that would not be seen, or would turn the
writing around, are shown by their number; all that HTML could take for its own is escaped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import orjson

#: What stands where there is nothing to say.
NOTHING = "\u2013"

#: Kinds of characters that are not seen, or steer others: controls, formats, halves, unassigned.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

#: What JSON may say in other words, so that nothing in it can end the element that it stands in.
_IN_HTML = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already; everything else is escaped."""

    text: str

    def __str__(self) -> str:
        return self.text


def visible(text: str) -> str:
    """Return a text in which every character is seen; what is not stands as its number, as in JSON."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in UNSEEN else letter for letter in text
    )


def html(value: Any) -> str:
    """Return a value as HTML: what is HTML already as it is, text escaped and in its own direction."""
    if isinstance(value, Html):
        return value.text
    return escape(visible(str(value)), quote=True)


def name(text: str) -> Html:
    """Return somebody else's words, which may be written from right to left."""
    return Html(f"<bdi>{html(text)}</bdi>")


def data(value: Any) -> str:
    """Return JSON that can stand in a script element."""
    found = orjson.dumps(value)
    for sign, words in _IN_HTML:
        found = found.replace(sign, words)
    return found.decode().replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def element(tag: str, content: Any, **attributes: str) -> Html:
    """Return an element; `class_` and the like lose their last `_`, other `_` become `-`."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{tag}{told}>{html(content)}</{tag}>")


def joined(parts: Iterable[Any], between: str = "") -> Html:
    """Return several things one after the other."""
    return Html(between.join(html(part) for part in parts))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], *, figures: str = "") -> Html:
    """Return a table that scrolls by itself where it is too wide.

    `figures` has a letter for each column: `n` for numbers, which stand to the right, `o` for what stays on
    one line, `l` for sentences.
    """
    kinds = figures.ljust(len(heads), "t")
    head = joined(
        element("th", text, scope="col", class_="figure" if kind == "n" else "words")
        for text, kind in zip(heads, kinds, strict=True)
    )
    body = joined(
        element("tr", joined(cell(value, kind) for value, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    inner = joined(
        [
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", body),
        ]
    )
    return element(
        "div", element("table", inner), class_="scroll", tabindex="0", role="region", aria_label=caption
    )


def cell(value: Any, kind: str) -> Html:
    """Return one cell of a kind."""
    kinds = {"n": "figure", "o": "once", "l": "long"}
    return element("td", value, class_=kinds[kind]) if kind in kinds else element("td", value)


def bar(share: float) -> Html:
    """Return a bar that shows a share, for the eye only: the figure stands beside it."""
    width = f"{min(max(share, 0.0), 1.0) * 100:.1f}"
    return Html(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="8"/><rect class="filled" width="{width}" height="8"/></svg>'
    )


def folded(title: str, content: Any, *, opened: bool = False) -> Html:
    """Return what is shown when one wants it."""
    return Html(
        f"<details{' open' if opened else ''}><summary>{html(title)}</summary>{html(content)}</details>"
    )
