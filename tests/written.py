"""The code blocks of the documentation, and the commands that a test can run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pictures import png

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
EVALUATION = (DOCS / "how-to" / "evaluate.md", DOCS / "how-to" / "open-models.md")
CUSTOM_MODEL = DOCS / "how-to" / "custom-model.md"
RECIPES = tuple(sorted((DOCS / "recipes").glob("*.md")))
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))

#: Flags that select an endpoint. A rehearsal uses the tests' simulator instead.
OF_AN_ENDPOINT = ("--endpoint", "--api-version", "--auth", "--deployment", "--api-key-from")

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. `before` is the text between it and the previous block."""

    language: str
    code: str
    before: str

    @property
    def lines(self) -> list[str]:
        """The commands, each on one line."""
        return [re.sub(r" +", " ", line) for line in self.code.replace("\\\n", " ").splitlines()]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path, *languages: str) -> Iterator[Block]:
    """Yield a page's blocks in some languages, in order."""
    text, end = page.read_text("utf-8"), 0
    for found in BLOCK.finditer(text):
        if found[1] in languages:
            yield Block(found[1], found[2], text[end : found.start()])
        end = found.end()


def blocks(language: str) -> list[str]:
    """Yield the blocks of a language in all pages."""
    return [block.code for page in PAGES for block in blocks_of(page, language)]


def shown_files(page: Path) -> dict[str, str]:
    """Return the JSON files that a page shows, by the name that the text before the block gives."""
    named = (
        (re.findall(r"`([\w-]+\.json)`", block.before[-400:]), block) for block in blocks_of(page, "json")
    )
    return {names[-1]: block.code for names, block in named if names}


def rehearsal(line: str) -> list[str]:
    """Return the words of a command after `batchscore`, without flags for a real endpoint."""
    words = shlex.split(line)[1:]
    kept, skip = [], False
    for word in words:
        if skip or word in OF_AN_ENDPOINT:
            skip = not skip
            continue
        kept.append(word)
    return kept


def write_products(folder: Path) -> None:
    """Write a folder with a table and the photos that it names."""
    (folder / "photos").mkdir(parents=True)
    lines = ["sku,name,photo"]
    for number in range(1, 4):
        (folder / "photos" / f"a-{number}.png").write_bytes(png(100 * number, 50))
        lines.append(f"A-{number},cup {number},photos/a-{number}.png")
    (folder / "products.csv").write_text("\n".join(lines) + "\n", "utf-8")


def write_tickets(path: Path) -> None:
    """Write a workbook of support tickets: the texts of a sample, by other names."""
    tickets = pd.read_csv(ROOT / "data" / "notes.csv").set_axis(["id", "subject", "text"], axis=1)
    tickets.to_excel(path, index=False)
