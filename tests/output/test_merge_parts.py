"""Many parts become one file: every row once, in order, in any format."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from batchscore.api.read_scores import read_scores
from batchscore.errors import OutputError, UsageError
from batchscore.output.merge import merge_output, merge_parts
from batchscore.output.one_file import note_none, refuse_edited
from batchscore.output.records import columnar, jsonl
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from full_disk import largest_file
from output_samples import all_comparable, answered, embedded, stored, write_folder

SCHEMA = RecordSchema("embeddings", with_id=True, keep=("k",), dimensions=3)
FILES = {
    "b.csv": [
        [embedded(row, id=str(row), kept={"k": "x"}) for row in range(start, start + 3)] for start in (0, 3)
    ],
    "a.csv": [[embedded(row, id=None, kept={"k": None}) for row in range(2)]],
}
ROWS = [replace(row, file=file) for file, parts in FILES.items() for part in parts for row in part]


def read_back(path: Path, schema: RecordSchema) -> list[Settled]:
    if path.suffix == ".jsonl":
        return list(jsonl.decode_scores(path, schema))
    if path.suffix == ".parquet":
        return list(columnar.decode_scores(path, schema))
    with pa.OSFile(str(path)) as opened, pa.ipc.open_file(opened) as file:
        table = file.read_all()
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    return list(columnar.decode_scores(stored(sink.getvalue().to_pybytes()), schema))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow", ".JSONL"])
def test_every_row_once_in_the_order_given(tmp_path: Path, form: str, suffix: str) -> None:
    parts = write_folder(tmp_path, SCHEMA, form, FILES)
    merged = tmp_path / f"merged{suffix}"
    assert merge_parts(dict.fromkeys(parts), merged, SCHEMA) == len(ROWS)
    back = merged.rename(merged.with_suffix(suffix.lower()))
    assert all_comparable(read_back(back, SCHEMA)) == all_comparable(ROWS)


def test_lines_are_copied_byte_by_byte(tmp_path: Path) -> None:
    parts = write_folder(tmp_path, SCHEMA, "jsonl", FILES)
    merge_parts(dict.fromkeys(parts), tmp_path / "merged.jsonl", SCHEMA)
    assert (tmp_path / "merged.jsonl").read_bytes() == b"".join(part.read_bytes() for part in parts)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_the_columns_are_found_in_the_parts(tmp_path: Path, suffix: str) -> None:
    """With `--keep '*'` in JSON Lines, rows may have different columns."""
    loose = RecordSchema("embeddings", keep=None)
    files = {
        "a.jsonl": [[embedded(0, kept={"x": "1"})], [embedded(1, kept={"y": "2", "x": None}), embedded(2)]]
    }
    parts = write_folder(tmp_path, loose, "jsonl", files)
    assert merge_parts(dict.fromkeys(parts), tmp_path / f"m{suffix}", loose) == 3
    found = read_back(tmp_path / f"m{suffix}", RecordSchema("embeddings", keep=("x", "y"), dimensions=3))
    assert [row.kept for row in found] == [
        {"x": "1", "y": None},
        {"x": None, "y": "2"},
        {"x": None, "y": None},
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_parts_of_runs_with_other_inputs_are_merged_with_all_their_columns(
    tmp_path: Path, form: str, suffix: str
) -> None:
    """With `--keep '*'` a later run may find a file with other columns, or with ids."""
    first = RecordSchema("embeddings", keep=("x",), dimensions=3)
    later = RecordSchema("embeddings", with_id=True, keep=("y", "x"), dimensions=3)
    write_folder(tmp_path / "out", first, form, {"a.csv": [[embedded(0, kept={"x": "1"})]]})
    rows = [embedded(0, id="7", kept={"y": "2", "x": None}), embedded(1, kept={"y": None, "x": "3"})]
    write_folder(tmp_path / "out", later, form, {"b.csv": [rows]})
    assert merge_output(tmp_path / "out", tmp_path / f"m{suffix}").rows == 3
    found = read_back(tmp_path / f"m{suffix}", replace(first, with_id=True, keep=("x", "y")))
    assert [(row.file, row.id, row.kept) for row in found] == [
        ("a.csv", None, {"x": "1", "y": None}),
        ("b.csv", "7", {"x": None, "y": "2"}),
        ("b.csv", None, {"x": "3", "y": None}),
    ]


@pytest.mark.parametrize("folder", ["", "errors"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_message_about_a_damaged_part_ends_with_the_command_that_repairs_it(
    tmp_path: Path, form: str, folder: str
) -> None:
    out = tmp_path / "my scores"
    (part,) = write_folder(out / folder, SCHEMA, form, {"a.csv": [[embedded(0)]]})
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(OutputError) as raised:
        merge_parts({part: None}, tmp_path / "merged.jsonl", SCHEMA)
    command = shlex.join(["batchscore", "verify", str(out), "--task", SCHEMA.task, "--repair"])
    assert str(raised.value).endswith(f" run: {command}")
    loose = part.rename(tmp_path / part.name)
    with pytest.raises(OutputError) as raised:
        merge_parts({loose: None}, tmp_path / "merged.jsonl", SCHEMA)
    assert str(raised.value).endswith("cut after it was written."), "it is in no output"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_damaged_part_leaves_the_old_file_and_nothing_else(tmp_path: Path, form: str, suffix: str) -> None:
    parts = write_folder(tmp_path / "out", SCHEMA, form, FILES)
    parts[-1].write_bytes(parts[-1].read_bytes()[:-5])
    (tmp_path / f"m{suffix}").write_bytes(b"old")
    with pytest.raises(OutputError, match=parts[-1].name):
        merge_parts(dict.fromkeys(parts), tmp_path / f"m{suffix}", SCHEMA)
    assert (tmp_path / f"m{suffix}").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"out", f"m{suffix}"}


def test_what_a_killed_merge_has_left_beside_its_file_is_removed(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", SCHEMA, "jsonl", FILES)
    left = tmp_path / ".batchscore-1234abcd-0.tmp"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))  # it may be of another machine, so its age decides
    merge_output(tmp_path / "out", tmp_path / "m.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "m.jsonl"}


def test_the_one_file_of_an_output_is_replaced_only_if_it_is_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is named by another path; a copy elsewhere is not the output's own file."""
    monkeypatch.chdir(tmp_path)
    folder, file = Path("out.jsonl.batchscore"), Path("out.jsonl")
    parts = write_folder(folder / "embeddings", SCHEMA, "jsonl", FILES)
    file.write_text("of an earlier version, which noted nothing")
    refuse_edited(folder, file)
    file.unlink()
    note_none(folder, file)
    file.write_text("mine")
    with pytest.raises(OutputError, match="was not written by batchscore"):
        refuse_edited(folder, file)
    for name in (tmp_path / "out.jsonl", Path("copy.jsonl")):
        merge_parts(dict.fromkeys(parts), name, SCHEMA, output=folder)
    refuse_edited(folder, file)
    merge_parts(dict.fromkeys(parts[:1]), file, SCHEMA, output=folder)
    refuse_edited(folder, file)
    file.write_bytes(Path("copy.jsonl").read_bytes())
    refuse_edited(folder, file)
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(OutputError, match="changed after batchscore wrote it") as refused:
        refuse_edited(folder, file)
    assert str(refused.value).endswith("run: batchscore merge out.jsonl out-2.jsonl")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.jsonl, .* \.tsv or \.xlsx"):
        merge_parts({}, tmp_path / "m.json", SCHEMA)


def test_nothing_to_merge(tmp_path: Path) -> None:
    assert merge_parts({}, tmp_path / "m.jsonl", SCHEMA) == 0
    assert merge_parts({}, tmp_path / "m.parquet", SCHEMA) == 0
    assert read_scores(tmp_path / "m.parquet").shape == (0, 5)
    with pytest.raises(OutputError, match="no scores"):
        merge_parts({}, tmp_path / "n.parquet", RecordSchema("embeddings"))


def test_texts_are_merged_too(tmp_path: Path) -> None:
    schema = RecordSchema("chat")
    parts = write_folder(tmp_path, schema, "jsonl", {"a": [[answered(0, None, None)], [answered(1, "x")]]})
    merge_parts(dict.fromkeys(parts), tmp_path / "m.parquet", schema)
    assert [row.result for row in read_back(tmp_path / "m.parquet", schema)] == [
        answered(0, None, None).result,
        answered(1, "x").result,
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    schema = RecordSchema("embeddings", dimensions=64)
    part = [embedded(row, dimensions=64) for row in range(2000)]
    parts = write_folder(tmp_path / "out", schema, "parquet", {"a": [part, part, part]})
    with largest_file(100_000), pytest.raises(OutputError) as refused:
        merge_parts(dict.fromkeys(parts), tmp_path / f"m{suffix}", schema)
    assert str(refused.value).startswith(f"cannot write {tmp_path}/m{suffix}: the file is larger than")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.process
def test_json_lines_never_load_pyarrow() -> None:
    modules = "batchscore.output.merge, batchscore.api.read_scores"
    code = f"import sys, {modules}; print({{'pyarrow', 'pandas'}} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
