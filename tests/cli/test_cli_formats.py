"""A folder with every format: each row has one record with its own answer."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from cli_records import Place, codes, manifests, records, same, whole

from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files

DATA = Path(__file__).resolve().parents[2] / "data"

#: Cells that a reader may spoil on the way; the blank one asks nothing.
TEXTS = ("007", 'A tram, with "bells".', "two\nlines\tand a tab", "NA", " ", "1e5 é 東 🚋", "2024-01-01")


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def delimited(texts: Iterable[str], delimiter: str = ",", newline: str = "\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline)
    writer.writerows([["text", "n"], *([text, str(number)] for number, text in enumerate(texts))])
    return out.getvalue().encode()


def json_lines(texts: Iterable[str]) -> str:
    return "".join(json.dumps({"text": text, "n": number}) + "\n\n" for number, text in enumerate(texts))


def write_every_format(folder: Path, files: Files) -> dict[Place, str | None]:
    """Write the same texts in every format; return each row's text, `None` if it cannot be read."""
    folder.mkdir()
    table = pa.table({"text": list(TEXTS), "n": list(range(len(TEXTS)))})
    plain = delimited(TEXTS)
    single = [text for text in TEXTS if "\n" not in text and text.strip()]
    at = f"{folder}/"
    files.bytes(at + "plain.csv", plain)
    files.bytes(at + "bom.CSV", b"\xef\xbb\xbf" + delimited(TEXTS, newline="\r\n"))
    files.bytes(at + "tabs.tsv", delimited(TEXTS, "\t"))
    files.bytes(at + "packed.csv.gz", gzip.compress(plain))
    files.bytes(at + "deep/er/packed.csv.zst", zstd(plain))
    files.json(at + "array.json", [{"text": text, "n": 1} for text in TEXTS])
    files.json(at + "columns.json", {"text": list(TEXTS), "n": [1] * len(TEXTS)})
    files.json(at + "one.json", {"text": TEXTS[1], "n": 1})
    files.json(at + "strings.json", list(TEXTS))
    files.text(at + "lines.jsonl", json_lines(TEXTS))
    files.bytes(at + "lines.ndjson.gz", gzip.compress(json_lines(TEXTS).encode()))
    files.text(at + "broken.jsonl", '{"text": "whole"}\n{"text": "cut\n"a string"\n')
    files.text(at + "lines.txt", "\n" + "\n".join(single) + "\n\n")
    pq.write_table(table, folder / "groups.parquet", row_group_size=2)
    coded = table.set_column(0, "text", table["text"].dictionary_encode())
    pq.write_table(coded, folder / "coded.parquet")
    pyarrow.feather.write_feather(table, folder / "file.feather")
    for name, open_writer in (("file.arrow", pa.ipc.new_file), ("stream.ipc", pa.ipc.new_stream)):
        with open_writer(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    files.text(at + "nothing.csv", "")
    files.text(at + "header.csv", "text,n\n")

    every = (
        "plain.csv bom.CSV tabs.tsv packed.csv.gz deep/er/packed.csv.zst array.json columns.json "
        "strings.json lines.jsonl lines.ndjson.gz groups.parquet coded.parquet file.feather "
        "file.arrow stream.ipc"
    )
    asked: dict[Place, str | None] = {}
    for name in every.split():
        asked |= {(name, number): text for number, text in enumerate(TEXTS)}
    # A blank line is no row, yet a txt's numbering counts it.
    asked |= {("lines.txt", number + 1): text for number, text in enumerate(single)}
    asked |= {("broken.jsonl", 0): "whole", ("broken.jsonl", 1): None, ("broken.jsonl", 2): "a string"}
    return asked | {("one.json", 0): TEXTS[1]}


def read_sample_data(folder: Path) -> dict[Place, str | None]:
    """Copy data/ and return each row's text, read with other libraries."""
    shutil.copytree(DATA, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    asked: dict[Place, str | None] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        suffixes = path.name.partition(".")[2]
        if suffixes == "txt":
            cells = list(enumerate(path.read_text("utf-8").splitlines()))
            cells = [(number, line) for number, line in cells if line.strip()]
        else:
            frame = {
                "csv": lambda file: pd.read_csv(file, dtype=str, keep_default_na=False),
                "csv.gz": lambda file: pd.read_csv(file, dtype=str, keep_default_na=False),
                "tsv": lambda file: pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False),
                "json": pd.read_json,
                "jsonl": lambda file: pd.read_json(file, lines=True),
                "parquet": pd.read_parquet,
                "arrow": pd.read_feather,
            }[suffixes](path)
            cells = list(enumerate(frame["text"]))
        asked |= {(path.relative_to(folder).as_posix(), number): text for number, text in cells}
    return asked


def check_counts(out: str, task: str, asked: dict[Place, str | None]) -> dict[Place, dict[str, object]]:
    """Each row has a record; only empty and unreadable rows have error records."""
    scores, errors = whole(out, task)
    assert scores.keys() | errors.keys() == asked.keys()
    expected = {
        place: "unreadable_row" if text is None else "empty_input"
        for place, text in asked.items()
        if text is None or not text.strip()
    }
    assert codes(errors) == expected
    for place in scores:
        assert list(scores[place])[:2] == ["file", "row"]
    return scores


@pytest.mark.slow
def test_every_format_in_one_folder_by_every_task(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    asked = write_every_format(Path("in"), files)
    shared = ["score", "in", "--column", "text", "-m", deployment.name, "--json"]
    runs = batchscore.together(
        [*shared, "-o", "vectors", "--task", "embeddings", "--rows-per-part", "3", "--batch-size", "7"],
        [*shared, "-o", "chat", "--task", "chat"],
        [*shared, "-o", "completions", "--task", "completions"],
        [*shared, "-o", "responses", "--task", "responses"],
    )
    assert [run.exit_code for run in runs] == [3, 3, 3, 3]  # a line of broken.jsonl is no JSON
    for run in runs:
        assert (run.report["rows"], run.report["failed"]) == (len(asked), 1)

    vectors = check_counts("vectors", "embeddings", asked)
    expected = dict(zip(TEXTS, direct.vectors(TEXTS), strict=True))
    expected |= dict(zip(("whole", "a string"), direct.vectors(("whole", "a string")), strict=True))
    for place, record in vectors.items():
        assert same(record["embeddings"], expected[asked[place] or ""]), place
    for task in ("chat", "responses"):
        for place, record in check_counts(task, task, asked).items():
            assert record[task] == direct.chat(asked[place] or ""), place
            assert record["finish_reason"] == "stop"
    for place, record in check_counts("completions", "completions", asked).items():
        assert record["completions"] == direct.completion(asked[place] or ""), place
        assert record["finish_reason"] in {"stop", "length"}
    parts = sorted(path.name.rsplit("-", 1)[1] for path in Path("vectors/embeddings").glob("part-plain-*"))
    assert parts == ["00000.jsonl", "00001.jsonl", "00002.jsonl"]
    states = {file: manifest["state"] for file, manifest in manifests("chat", "chat").items()}
    assert set(states.values()) == {"complete"}
    assert {"nothing.csv", "header.csv"} <= states.keys()


def test_the_sample_data(batchscore: Cli, direct: Direct, deployment: Deployment) -> None:
    asked = read_sample_data(Path("data"))
    assert len(asked) > 90
    run = batchscore(
        "score", "data", "-o", "out", "--column", "text", "-m", deployment.name, "--task", "embeddings"
    )
    assert run.exit_code == 0, run
    scores = check_counts("out", "embeddings", asked)
    expected = direct.vectors([asked[place] or "" for place in scores])
    for record, vector in zip(scores.values(), expected, strict=True):
        assert same(record["embeddings"], vector), record["file"]


def test_names_are_literal_and_do_not_collide(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    """Globs match, but an existing path is taken literally; files with the same name do not collide."""
    names = ("a[1].csv", "a1.csv", "100% #1 é 東.csv", "day=1/x.csv", "-x.csv", "day=2/x.csv", "x.tsv.csv")
    for name in names:
        files.csv(f"in/{name}", [{"text": f"This row is of {name}"}])
    files.csv("in/.hidden.csv", [{"text": "nobody asks for this"}])
    command = ["score", "--task", "embeddings", "-m", deployment.name, "--json"]
    everything, named = batchscore.together(
        [*command, "in", "-o", "everything"],
        [*command, "in/a[1].csv", "in/100% #1 é 東.csv", "in/**/x.c?v", "in/?[0-9].csv", "-o", "named"],
    )
    assert [run.exit_code for run in (everything, named)] == [0, 0]
    expected = direct.vectors([f"This row is of {name}" for name in names])
    scores, errors = whole("everything", "embeddings")
    assert not errors
    assert scores.keys() == {(name, 0) for name in names}
    for name, vector in zip(names, expected, strict=True):
        assert same(scores[name, 0]["embeddings"], vector), name
    for path in Path("everything/embeddings").iterdir():
        assert path.name.isascii()
        assert not set(path.name) & set("=% #[]")
    assert {file for file, _ in records(Path("named/embeddings"))} == {
        *("a[1].csv", "100% #1 é 東.csv", "day=1/x.csv", "day=2/x.csv", "a1.csv")
    }


def test_a_txt_can_be_one_document(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    text = "The first line.\n\nThe third line.\n"
    files.text("in/a.txt", text)
    run = batchscore("score", "in", "-o", "out", "--task", "chat", "-m", deployment.name, "--txt", "document")
    assert run.exit_code == 0
    scores, _ = whole("out", "chat")
    assert scores.keys() == {("a.txt", 0)}
    (asked,) = deployment.requests()
    assert asked.body["messages"][0]["content"].strip() == text.strip()
    assert scores["a.txt", 0]["chat"] == direct.chat(text)
