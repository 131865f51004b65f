"""Everything that lists the input formats lists all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from read_samples import outcome

from batchscore.cli.score import SCORE_HELP
from batchscore.read.first_bytes import likely_encoding
from batchscore.read.formats import COMPRESSIONS, FORMATS
from batchscore.read.stream import SURE_LETTERS

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
    (listed,) = re.findall(r"Formats: (.*?)\. The prompt", " ".join(SCORE_HELP.split()))
    compressible, plain = listed.split(", also compressed (.gz, .zst, .bz2, .xz); ")
    assert list(COMPRESSIONS) == [".gz", ".zst", ".bz2", ".xz"]
    for names, wanted in ((compressible, True), (plain, False)):
        assert suffixes(names.replace(" and ", " ")) == {
            suffix for suffix, known in FORMATS.items() if known.compressible is wanted
        }


@pytest.mark.parametrize(
    ("written", "named", "read"),
    [
        ("windows-1252", "windows-1252", "windows-1252"),
        ("utf-8", "windows-1252", "utf-8"),
        ("utf-8-sig", "cp1252", "utf-8"),
        ("utf-8", "ISO-8859-15", "utf-8"),
        ("utf-16", "windows-1252", "utf-16"),
        ("utf-32", "windows-1252", "utf-32"),
        ("koi8-r", "koi8-r", "koi8-r"),
        ("utf-8", "gbk", "utf-8"),
        # In these two bytes may be a letter, also if both could be UTF-8.
        ("gbk", "gbk", "gbk"),
        ("big5", "big5", "big5"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_named_encoding_leaves_files_that_are_surely_unicode(
    name: str, written: str, named: str, read: str, tmp_path: Path
) -> None:
    word = {"koi8-r": "привет", "gbk": "模", "big5": "模"}.get(written, "Straße")
    word *= SURE_LETTERS if named == "gbk" and read == "utf-8" else 1
    lines = {"a.csv": f"text,id\n{word},1\n", "a.jsonl": f'{{"text": "{word}", "id": "1"}}\n', "a.txt": word}
    (tmp_path / name).write_bytes(lines[name].encode(written))
    found = outcome(tmp_path / name, encoding=named)
    assert [values["text"] for values in found.cells] == [word]
    assert (f"encoding {read}" in found.notes) == (named != "utf-8")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("café naïve déjà vu, Straße", "windows-1252"),
        ("Сегодня хорошая погода", "windows-1251"),
        ("我们今天去公园散步", "gbk"),
        ("今日は天気がいいですね。", "shift_jis"),
    ],
)
def test_the_example_of_an_encoding_fits_the_kind_of_text(text: str, encoding: str) -> None:
    assert likely_encoding(f"text\n{text}\n".encode(encoding)) == encoding
