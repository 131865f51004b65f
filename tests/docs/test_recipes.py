"""Each recipe works: its commands and examples, in order, in a folder with what it begins with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from written import RECIPES, ROOT, blocks_of, rehearsal, shown_files, write_products, write_tickets

if TYPE_CHECKING:
    import prefork
    from conftest import Cli


def letters(folder: Path) -> None:
    """Write a folder of documents."""
    (folder / "letters").mkdir()
    for number in range(3):
        text = f"Dear Ms Vogel,\n\nthis is our invoice number {number}.\n\nYours, Harbour Supplies\n"
        (folder / "letters" / f"letter-{number}.txt").write_text(text, "utf-8")


def notes(folder: Path) -> None:
    """Copy a file of the sample data."""
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / "notes.csv", folder / "data" / "notes.csv")


#: What a recipe begins with.
INPUTS: Mapping[str, Callable[[Path], None]] = {
    "describe-images": lambda folder: write_products(folder / "products"),
    "extract-fields": letters,
    "tickets": lambda folder: write_tickets(folder / "tickets.xlsx"),
    "translate": notes,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_works(page: Path, batchscore: Cli, imported: prefork.Server, tmp_path: Path) -> None:
    INPUTS[page.stem](tmp_path)
    for name, text in shown_files(page).items():
        (tmp_path / name).write_text(text, "utf-8")
    for block in blocks_of(page, "sh", "python"):
        if block.language == "sh":
            for line in block.lines:
                done = batchscore(*rehearsal(line), cwd=tmp_path)
                assert done.exit_code == 0, done.said
            continue
        (tmp_path / "examples.json").write_text(json.dumps([[page.stem, [block.code]]]), "utf-8")
        run_blocks = Path(__file__).with_name("run_blocks.py")
        forked = imported.start(["examples.json"], {**os.environ, **batchscore.environ}, tmp_path, run_blocks)
        with forked.stdout, forked.stderr:
            said, problems = forked.communicate(50)
        assert forked.returncode == 0, problems
        assert said
