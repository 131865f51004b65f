"""Each recipe works: its commands and examples, in order, in a folder with what it begins with."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import duckdb
import numpy as np
import pytest
import sqlite_vec

from batchscore import read_scores, score_rows
from written import (
    DOCS,
    RECIPES,
    ROOT,
    Block,
    blocks_of,
    rehearsal,
    shown_files,
    write_products,
    write_tickets,
)

if TYPE_CHECKING:
    import prefork
    from conftest import Cli

pytestmark = pytest.mark.process


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


def tickets_in_csv(folder: Path) -> None:
    """Write tickets of which some say only in the text which team must answer."""
    tickets = [
        ("Delivery is late", "Where is my parcel?"),
        ("A question", "My account is locked."),
        ("Billing error", "I was charged twice."),
        ("My account", "Please send the billing address."),
        ("", "Which parcel? The delivery was open."),
    ]
    write_table(
        folder / "tickets.csv", ["id", "subject", "text"], [(n, *t) for n, t in enumerate(tickets, 1)]
    )


def questions(folder: Path) -> None:
    """Write questions with right answers, one without an answer, and what people say of some answers."""
    asked = [(f"q{n}", f"What is {n} plus {n}?", f"It is {2 * n}.") for n in range(6)]
    asked.append(("q6", "simulate-empty-reply", "Nobody answers."))
    write_table(folder / "questions.csv", ["id", "question", "reference"], asked)
    grades = [(f"q{n}", ("correct", "incorrect")[n % 2]) for n in range(4)]
    write_table(folder / "human.csv", ["id", "human"], grades)


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


#: What a recipe begins with.
INPUTS: Mapping[str, Callable[[Path], None]] = {
    "compare-prompts": tickets_in_csv,
    "describe-images": lambda folder: write_products(folder / "products"),
    "extract-fields": letters,
    "judge": questions,
    "tickets": lambda folder: write_tickets(folder / "tickets.xlsx"),
    "translate": notes,
}

#: What a recipe's commands and examples must show, beyond that they work.
SHOWS: Mapping[str, Sequence[str]] = {
    "judge": [
        r"4 labelled rows, 2 labels",
        r"cohen_kappa +",
        r"│ +6 │ +1 │ +0 │",
        r"small_wins │ large_wins │ flips │ not_judged │ questions",
        r"│ +1 │ +7 │$",
    ],
    "compare-prompts": [
        r"1 │ A question +│ billing +│ account",
        r"3 │ My account +│ account +│ billing",
        r"4 │ +│ NULL +│ delivery",
        r"subject.parquet │ +4 │ .* │ +0\.0000\d+ │",
        r"text.parquet +│ +5 │ .* │ +0\.0000\d+ │",
        r"^< 2,A question,.*,billing,stop",
        r"^> 2,A question,.*,account,stop",
    ],
}

#: The recipe of which a test of its own runs several nights.
NIGHTLY = DOCS / "recipes" / "vector-store.md"

#: Words that `diff` prints: it exits with 1 if files differ.
DIFFER = {0, 1}


class Reader:
    """A person who follows a recipe in a folder."""

    def __init__(self, page: Path, batchscore: Cli, imported: prefork.Server, folder: Path) -> None:
        self.page, self.batchscore, self.imported, self.folder = page, batchscore, imported, folder

    def follow(self, block: Block) -> str:
        """Run the commands or the example of a block; return what it says."""
        if block.language == "python":
            return self.run_examples(block)
        return "".join(self.run_command(line) for line in block.lines)

    def run_command(self, line: str) -> str:
        if line.startswith("diff "):
            words = shlex.split(line)
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
            assert done.returncode in DIFFER, done.stderr
            return done.stdout
        finished = self.batchscore(*rehearsal(line), cwd=self.folder)
        assert finished.exit_code == 0, finished.said
        return finished.said

    def run_examples(self, *blocks: Block) -> str:
        """Run examples in one process, each as a script of its own."""
        examples = [[self.page.stem, [block.code]] for block in blocks]
        (self.folder / "examples.json").write_text(json.dumps(examples), "utf-8")
        run_blocks = Path(__file__).with_name("run_blocks.py")
        variables = {**os.environ, **self.batchscore.environ}
        forked = self.imported.start(["examples.json"], variables, self.folder, run_blocks)
        with forked.stdout, forked.stderr:
            said, problems = forked.communicate(600)
        assert forked.returncode == 0, problems
        assert said
        return said


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RECIPES if page != NIGHTLY], ids=lambda page: page.stem)
def test_a_recipe_works(page: Path, batchscore: Cli, imported: prefork.Server, tmp_path: Path) -> None:
    INPUTS[page.stem](tmp_path)
    for name, text in shown_files(page).items():
        (tmp_path / name).write_text(text, "utf-8")
    reader = Reader(page, batchscore, imported, tmp_path)
    said = "".join([reader.follow(block) for block in blocks_of(page, "sh", "python")])
    assert [shown for shown in SHOWS.get(page.stem, ()) if not re.search(shown, said, re.MULTILINE)] == [], (
        said
    )


@dataclass(frozen=True)
class Stored:
    """A row of a database of vectors."""

    title: str
    text: str
    vector: bytes


def rows_in_duckdb(folder: Path) -> Iterator[tuple[str, Stored]]:
    with duckdb.connect(str(folder / "notes.duckdb"), read_only=True) as db:
        for identity, title, text, vector in db.execute(
            "select id, title, text, vector from notes"
        ).fetchall():
            yield identity, Stored(title, text, np.array(vector, np.float32).tobytes())


def rows_in_sqlite(folder: Path) -> Iterator[tuple[str, Stored]]:
    db = apsw.Connection(str(folder / "notes.sqlite"))
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    for identity, title, text, vector in db.execute("select id, title, text, vector from notes"):
        yield identity, Stored(title, text, vector)
    db.close()


def nearest(folder: Path) -> list[str]:
    """Return what a search must find, without a database."""
    scores = read_scores(folder / "scores")
    vectors = np.stack(scores["embeddings"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (question,) = score_rows(
        ["How do I bake bread?"], task="embeddings", model="text-embedding-3-small", simulate=True
    )
    return [str(each) for each in scores["id"][np.argsort(-(vectors @ question.value))[:3]]]


FIRST_NIGHT = {
    "a.csv": [
        ("1", "Loaf", "Bake a loaf of bread."),
        ("2", "Tide", "The tide turns."),
        ("3", "Tyre", "Mend a tyre."),
        ("4", "Owl", "An owl in the barn."),
    ],
    "b.csv": [("5", "Soup", "Cook a soup."), ("6", "Rain", "Rain all day.")],
    "c.csv": [("7", "Yeast", "Bread needs yeast."), ("8", "Kite", "Fly a kite.")],
}

#: Rows are new, deleted and in another file; a text, a title and a file are changed or gone.
SECOND_NIGHT = {
    "a.csv": [
        ("9", "Oven", "How hot must an oven be to bake bread?"),
        ("1", "Loaf", "Bake a loaf of bread."),
        ("2", "Tide", "The tide turns twice a day."),
        ("4", "Barn owl", "An owl in the barn."),
    ],
    "b.csv": [("6", "Rain", ""), ("8", "Kite", "Fly a kite."), ("5", "Soup", "Cook a soup.")],
}

#: All rows are gone.
THIRD_NIGHT: dict[str, list[tuple[str, str, str]]] = {"a.csv": [("1", "Loaf", "")]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_databases_of_vectors_hold_the_rows_of_each_night(
    batchscore: Cli, imported: prefork.Server, tmp_path: Path
) -> None:
    reader = Reader(NIGHTLY, batchscore, imported, tmp_path)
    (score,) = blocks_of(NIGHTLY, "sh")
    load_duckdb, search_duckdb, load_sqlite, search_sqlite = blocks_of(NIGHTLY, "python")
    for night, changed in ((FIRST_NIGHT, 8), (SECOND_NIGHT, 6), (THIRD_NIGHT, 6)):
        shutil.rmtree(tmp_path / "notes", ignore_errors=True)
        for name, rows in night.items():
            write_table(tmp_path / "notes" / name, ["id", "title", "text"], rows)
        reader.follow(score)
        loads = reader.run_examples(load_duckdb, load_duckdb, load_sqlite, load_sqlite)
        wanted = {row[0]: row[1:] for rows in night.values() for row in rows if row[2]}
        ends = f" rows changed, {len(wanted)} in the database"
        assert loads.splitlines() == [f"{changed}{ends}", f"0{ends}"] * 2
        for read in (rows_in_duckdb, rows_in_sqlite):
            stored = list(read(tmp_path))
            assert sorted((identity, row.title, row.text) for identity, row in stored) == sorted(
                (identity, *row) for identity, row in wanted.items()
            )
            if wanted:
                scores = read_scores(tmp_path / "scores")
                vectors = {row.id: row.embeddings.tobytes() for row in scores.itertuples()}
                assert {identity: row.vector for identity, row in stored} == vectors
        if night is SECOND_NIGHT:
            found = [
                line.split()[1] for line in reader.run_examples(search_duckdb, search_sqlite).splitlines()
            ]
            assert found == nearest(tmp_path) * 2
