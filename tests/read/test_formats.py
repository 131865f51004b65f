"""Everything that lists the input formats lists all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchscore.cli.score import SCORE_HELP
from batchscore.read.formats import COMPRESSIONS, FORMATS

ROOT = Path(__file__).parents[2]


def suffixes(text: str) -> set[str]:
    return {f".{name}" for name in re.findall(r"\w+", text)}


@pytest.mark.parametrize("page", ["README.md", "docs/reference/input.md"])
def test_the_table_of_formats_has_every_suffix(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    (table,) = re.findall(r"^\|[^\n]+\| a row is \|.*?\n\n", text, re.DOTALL | re.MULTILINE)
    listed = [
        name
        for line in table.strip().splitlines()[2:]
        for name in re.findall(r"`(\.\w+)`", line.split("|")[1])
    ]
    assert sorted(listed) == sorted(FORMATS)


def test_the_reference_says_which_formats_may_be_compressed() -> None:
    text = (ROOT / "docs/reference/input.md").read_text("utf-8")
    (names,) = re.findall(r"^(.*) files can be compressed", text, re.MULTILINE)
    assert suffixes(names.replace(" and ", " ")) == {
        suffix for suffix, known in FORMATS.items() if known.compressible
    }


def test_the_help_of_score_lists_every_format() -> None:
    """The command line may not import the readers, so its help has the names a second time."""
    (listed,) = re.findall(r"Formats: (.*?)\. The prompt", SCORE_HELP, re.DOTALL)
    compressible, plain = listed.split(", also compressed (.gz, .zst, .bz2, .xz); ")
    assert list(COMPRESSIONS) == [".gz", ".zst", ".bz2", ".xz"]
    for names, wanted in ((compressible, True), (plain, False)):
        assert suffixes(names.replace(" and ", " ")) == {
            suffix for suffix, known in FORMATS.items() if known.compressible is wanted
        }
