"""pandas, DuckDB, pyarrow and our own reader see every row, in every kind of output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from cli_records import Place, lines, same, whole

from batchscore import read_scores
from batchscore.simulator.words import EMPTY_REPLY_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files

#: Names that readers skip, take for partitions, or confuse.
NAMES = ("-x.csv", "day=1/x.csv", "day=2/x.csv", "a/same.csv", "b/same.csv", "nothing but errors.csv")

#: With `stop` at the full stop the replies are: null, a date, a number, words.
TEXTS = (EMPTY_REPLY_TRIGGER, "2024-01-01", "007", "true", "One two. Three.", "", "null")


def write_folder(files: Files) -> dict[Place, str]:
    """Write files whose first part has no response, or only errors."""
    asked: dict[Place, str] = {}
    for name in NAMES:
        texts = [""] * 3 if "errors" in name else [f"{text}" for text in TEXTS]
        files.texts(f"in/{name}", texts)
        asked |= {(name, row): text for row, text in enumerate(texts) if text}
    return asked


def places(frame: pd.DataFrame) -> set[Place]:
    found = list(zip(frame["file"], frame["row"], strict=True))
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.slow
def test_every_reader_sees_every_row(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    asked = write_folder(files)
    shared = ["score", "in", "--column", "text", "--id", "id", "-m", deployment.name, "--rows-per-part", "2"]
    chat = [*shared, "--task", "chat", "--param", 'stop=["."]']
    runs = batchscore.together(
        [*chat, "-o", "lines"],
        [*chat, "-o", "columns", "--format", "parquet"],
        [*shared, "-o", "vectors", "--task", "embeddings", "--format", "parquet"],
    )
    assert [run.exit_code for run in runs] == [0, 0, 0], runs
    expected = {place: direct.chat(text, stop=["."]) for place, text in asked.items()}
    assert set(expected.values()) >= {None, "2024-01-01", "007", "true", "null"}
    scores, _ = whole("lines", "chat")
    assert {place: record["chat"] for place, record in scores.items()} == expected

    globbed = sorted(Path("lines/chat").glob("*.jsonl"))
    frame = pd.concat([pd.read_json(path, lines=True, dtype=False) for path in globbed])
    assert places(frame) == expected.keys()
    frame = duckdb.sql("select file, row, id, chat from read_json('lines/chat/*.jsonl')").df()
    assert places(frame) == expected.keys()

    for out, task in (("columns", "chat"), ("vectors", "embeddings")):
        dataset = ds.dataset(f"{out}/{task}", format="parquet").to_table().to_pandas()
        assert places(dataset) == expected.keys()
        assert places(duckdb.sql(f"select * from '{out}/{task}/*.parquet'").df()) == expected.keys()
        assert places(pd.read_parquet(f"{out}/{task}")) == expected.keys()

    for out in ("lines", "columns"):
        frame = read_scores(out)
        found = zip(frame["file"], frame["row"], frame["chat"], strict=True)
        assert [(file, row, chat) for file, row, chat in found] == [
            (file, row, expected[file, row]) for file, row in sorted(expected)
        ]
        assert set(frame["id"]) == {f"00{row}" for row in range(len(TEXTS)) if row != 5}
    frame = read_scores("vectors")
    vectors = direct.vectors([asked[place] for place in sorted(asked)])
    assert np.array_equal(np.stack(frame["embeddings"].to_list()), np.stack(vectors))


@pytest.mark.slow
def test_one_file_of_every_format_is_in_input_order(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    """The prompt is the column named `input`, although another also holds text."""
    rows = [{"input": f"Row {row} of the tide", "note": "a second text column"} for row in range(30)]
    files.csv("in/b.csv", rows[:20])
    files.csv("in/a.csv", rows[20:])
    expected = direct.vectors([row["input"] for row in rows[20:] + rows[:20]], dimensions=5)
    command = ["score", "in", "--task", "embeddings", "-m", deployment.name, "--dimensions", "5"]
    command += ["--rows-per-part", "7", "--batch-size", "3", "--keep", "note"]
    names = ["out.jsonl", "deep/out.PARQUET", "out.arrow"]
    for run in batchscore.together(*([*command, "-o", name] for name in names)):
        assert run.exit_code == 0, run
    with pa.OSFile("out.arrow") as file:
        arrow = pa.ipc.open_file(file).read_all().to_pylist()
    for found in (lines(Path("out.jsonl")), pd.read_parquet(names[1]).to_dict("records"), arrow):
        assert [(row["file"], row["row"]) for row in found] == sorted(
            [("a.csv", row) for row in range(10)] + [("b.csv", row) for row in range(20)]
        )
        assert all(same(row["embeddings"], vector) for row, vector in zip(found, expected, strict=True))
        assert {row["note"] for row in found} == {"a second text column"}
    for name in names:
        assert list(read_scores(name).columns) == ["file", "row", "note", "embeddings"]
    # What it was made of stands beside it, so that it resumes.
    before = deployment.statistics().count
    again = batchscore(*command, "-o", "out.jsonl", "--json")
    assert (again.exit_code, again.report["known"], again.report["requests"]) == (0, 30, 0)
    assert deployment.statistics().count == before
    assert len(lines(Path("out.jsonl"))) == 30


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow"])
def test_an_input_without_rows_is_not_an_error(batchscore: Cli, files: Files, suffix: str) -> None:
    files.text("a.csv", "text\n")
    done = batchscore(
        "score", "a.csv", "-o", f"out.{suffix}", "--task", "embeddings", "-m", "any", "--column", "text"
    )
    assert done.exit_code == 0, done
    assert "0 rows of 1 file" in done.stdout
    if suffix == "jsonl":
        assert Path("out.jsonl").read_bytes() == b""
    else:
        assert not Path(f"out.{suffix}").exists()
        assert f"out.{suffix} was not written: no row was scored" in done.stdout
        command = ["score", "a.csv", "-o", f"named.{suffix}", "--task", "embeddings", "-m", "any"]
        known = batchscore(*command, "--column", "text", "--dimensions", "3", "--json")
        assert known.report["output_written"] is True
        assert list(read_columns(Path(f"named.{suffix}")).column_names) == ["file", "row", "embeddings"]


def read_columns(path: Path) -> pa.Table:
    """Read a Parquet or Arrow file, whatever it holds."""
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


@pytest.mark.slow
def test_one_file_is_not_replaced_by_less_or_by_another_task(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    files.texts("in/b.csv", ["three"])
    shared = ["-o", "out.jsonl", "-m", deployment.name, "--column", "text"]
    assert batchscore("score", "in", *shared, "--task", "chat").exit_code == 0
    before = Path("out.jsonl").read_bytes()
    fewer = batchscore("score", "in/b.csv", *shared, "--task", "chat")
    another = batchscore("score", "in", *shared, "--task", "embeddings")
    assert (fewer.exit_code, another.exit_code) == (1, 1)
    assert "out.jsonl also holds the scores of a.csv, which are not among the inputs" in fewer.said
    assert "remove their scores with --incremental and --prune, choose another file name" in fewer.said
    assert "out.jsonl is for the chat scores of another run, and one file holds one task" in another.said
    assert Path("out.jsonl").read_bytes() == before
    assert deployment.statistics().count == 3

    files.texts("in/c.csv", ["four"])
    more = batchscore("score", "in", *shared, "--task", "chat", "--json")
    assert (more.exit_code, more.report["known"], len(lines(Path("out.jsonl")))) == (0, 3, 4)
    Path("out.jsonl").write_text("my notes")
    edited = batchscore("score", "in", *shared, "--task", "chat")
    assert "out.jsonl was changed after batchscore wrote it" in edited.said
    assert (edited.exit_code, Path("out.jsonl").read_text()) == (1, "my notes")
    anew = batchscore("score", "in/b.csv", *shared, "--task", "embeddings", "--overwrite")
    assert (anew.exit_code, len(lines(Path("out.jsonl")))) == (0, 1)
    assert "--overwrite discarded 4 scores that out.jsonl held" in anew.said
    again = batchscore("score", "in/b.csv", *shared, "--task", "embeddings", "--overwrite")
    assert "--overwrite discarded 1 score that out.jsonl held" in again.said
    assert batchscore("score", "in/b.csv", *shared, "--task", "embeddings").exit_code == 0
