"""When do two texts name the same label?

They do if they differ only in Unicode form, case, blanks, hyphens, underscores, Markdown, or punctuation at
either end. It knows no answers.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

#: Marks of Markdown that carry no meaning in a label.
_MARKDOWN = re.compile(r"\*\*|__|`+|~~|^(?:#{1,3}|>|[-*•])\s+", re.MULTILINE)

#: What may enclose a label.
_OUTER = " \t\r\n\v\f\"'`“”„‘’«»‹›()[]{}<>*_.,;:!?¡¿。、「」『』"  # noqa: RUF001

#: A whole number as programs write it into a column with gaps.
_WHOLE_NUMBER = re.compile(r"\A(\d+)\.0+\Z")

#: A number with commas between thousands. Any other comma may be a decimal sign.
_WITH_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?!\d)[^,]*")

_JOINTS = re.compile(r"[\s_\-‐‑–]+")  # noqa: RUF001


def text_of(value: Any) -> str | None:
    """Return a cell or a field as the text of a label; `None` if there is none.

    1.0 is "1", since a column of whole numbers with gaps comes as fractions from many programs.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, (Mapping, list)):
        try:
            return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode()
        except TypeError:  # a whole number of more than 64 bits
            return json.dumps(value, default=str, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def number_of(text: str | None) -> float | None:
    """Return a text as a finite number, also 1e3; `None` if it is none, or has a decimal comma or 1_000."""
    text = (text or "").strip().removesuffix(",").replace("−", "-")  # noqa: RUF001
    if _WITH_THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if "_" in text:
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def plain(text: str) -> str:
    """Return a text without Markdown, in one Unicode form; its case, blanks and punctuation stay."""
    return _MARKDOWN.sub("", unicodedata.normalize("NFKC", text).replace("−", "-"))  # noqa: RUF001


def trimmed(text: str) -> str:
    """Return a plain text without blanks and punctuation at either end; a sign before a number stays."""
    found = plain(text).strip(_OUTER)
    while found[:1] in {"-", "–"} and not found[1:2].isdigit():  # noqa: RUF001
        found = found[1:].strip(_OUTER)
    return found


def fold(text: str) -> str:
    """Return what all spellings of a label have in common; a text of punctuation alone stays as it is."""
    found = trimmed(text)
    if not found:
        return text.strip()
    sign = "-" if found[:1] == "-" else ""
    found = _JOINTS.sub(" ", found.removeprefix("-")).strip().casefold()
    return sign + _WHOLE_NUMBER.sub(r"\1", found)


def merged_names(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the labels among texts that occur so often, each with its other spellings.

    Texts that differ only in what `fold` removes are one label, under its most frequent spelling.
    """
    by_fold = defaultdict[str, list[str]](list)
    for text in sorted(counts, key=lambda text: (-counts[text], len(text.strip()), text.swapcase())):
        by_fold[fold(text)].append(text)
    return {first.strip(): [first, *others] for first, *others in by_fold.values()}


class Labels:
    """The labels that rows may have, in order, and the other spellings of each.

    If two labels differ only in what `fold` removes, spellings are compared exactly (but for the punctuation
    around them). `merged` are spellings that occurred and count as one label, see `merged_names`; `None` if
    somebody has named the labels.
    """

    def __init__(
        self,
        names: Iterable[str],
        spellings: Mapping[str, str] | None = None,
        merged: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.merged = dict(merged or {})
        #: The order of the names says something: somebody gave it, or they are numbers.
        self.is_ordered = merged is None or all(number_of(name) is not None for name in self.names)
        by_fold = defaultdict(set)
        for name in self.names:
            by_fold[fold(name)].add(name)
        self.exact = any(len(each) > 1 for each in by_fold.values())
        self.spellings = dict(spellings or {})
        self.known = {self.key(name): name for name in self.names}
        for text, name in self.spellings.items():
            self.known.setdefault(self.key(text), self.known.get(self.key(name), name))

    @property
    def unknown(self) -> list[str]:
        """The labels that have other spellings, but are none of the names."""
        return sorted(set(self.known.values()) - {*self.names})

    def key(self, text: str) -> str:
        """Return what two spellings of one label have in common."""
        return (trimmed(text) or text.strip()) if self.exact else fold(text)

    def find(self, text: str) -> str | None:
        """Return the label that a whole text names; `None` if it names none."""
        return self.known.get(self.key(text))
