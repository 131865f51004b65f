"""Scores in pandas: every row, in order, with the types that were written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from batchscore.api.read_scores import read_scores
from batchscore.errors import InputError, UsageError
from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest, PartFile, write_manifest
from batchscore.output.merge import merge_parts
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Score, Settled
from batchscore.stores.storage import digest_file
from output_samples import answered, embedded, write_folder

EMBEDDINGS = RecordSchema("embeddings", with_id=True, keep=("k",), dimensions=3)
CHAT = RecordSchema("chat", with_id=True)
FILES = {
    "b/x.csv": [
        [embedded(row, id=f"00{row}", kept={"k": "7"}) for row in range(start, start + 2)] for start in (0, 2)
    ],
    "b-c.csv": [[embedded(5, id=None, kept={"k": None})]],
}


def commit(root: Path, task: str, file: str, parts: list[Path], *, rows: int = 1, most: int = 1) -> None:
    """Write a manifest that names these parts, each with `rows` of at `most` rows."""
    commits = {
        number: Commit(
            number,
            rows,
            rows,
            0,
            0,
            whole=True,
            inputs="",
            scores=PartFile(part.name, len(data), digest_file(part)),
        )
        for number, part in enumerate(parts)
        if (data := part.read_bytes())
    }
    fingerprint = {"format": parts[0].suffix.removeprefix("."), "rows_per_part": most}
    path = Layout(root, task, parts[0].suffix).manifest(file)
    write_manifest(path, Manifest(file, task, fingerprint, parts=commits))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("merged", [None, ".jsonl", ".parquet", ".arrow"])
def test_embeddings_stack_and_ids_stay_text(tmp_path: Path, form: str, merged: str | None) -> None:
    out = tmp_path / "out"
    parts = write_folder(out, EMBEDDINGS, form, FILES)
    if merged:
        out = tmp_path / f"m{merged}"
        merge_parts(dict.fromkeys(parts), out, EMBEDDINGS)
    else:
        commit(out, "embeddings", "b/x.csv", parts[:2], rows=2, most=2)
        commit(out, "embeddings", "b-c.csv", parts[2:], most=9)
    frame = read_scores(str(out))
    assert list(frame.columns) == [*EMBEDDINGS.row_fields, "k", "embeddings"]
    assert list(zip(frame["file"], frame["row"], frame["id"], frame["k"], strict=True)) == [
        *(("b/x.csv", row, f"00{row}", "7") for row in range(4)),
        ("b-c.csv", 5, None, None),
    ]
    assert frame["row"].dtype == np.int64
    stacked = np.stack(frame["embeddings"].to_list())
    assert stacked.dtype == np.float32
    expected = np.stack([embedded(row).result.value for row in (0, 1, 2, 3, 5)])  # type: ignore[union-attr]
    assert stacked.tobytes() == expected.tobytes()
    assert np.stack(frame["embeddings"]).shape == (5, 3)
    assert list(frame.index) == list(range(5))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_answers_are_text_or_none_never_dates_numbers_or_nan(tmp_path: Path, form: str) -> None:
    rows = [
        [answered(0, None, None, id="1")],
        [answered(1, "2024-01-01", "stop", id="02"), answered(2, "7", "length", id=None)],
    ]
    write_folder(tmp_path, CHAT, form, {"a.csv": rows})
    frame = read_scores(tmp_path)
    assert frame["chat"].to_list() == [None, "2024-01-01", "7"]
    assert frame["finish_reason"].to_list() == [None, "stop", "length"]
    assert frame["id"].to_list() == ["1", "02", None]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_usage_and_raw_are_read_as_written(tmp_path: Path, form: str) -> None:
    schema = RecordSchema("chat", many=True, with_usage=True, with_raw=True)
    score = Score(["x", None], ["stop", None], {"total_tokens": 3}, {"id": "c", "choices": [1]})
    rows = [Settled("a", 0, score), Settled("a", 1, Score([], [], None, None))]
    write_folder(tmp_path, schema, form, {"a": [rows]})
    frame = read_scores(tmp_path)
    assert frame["chat"].to_list() == [["x", None], []]
    assert frame["usage"].to_list() == [{"total_tokens": 3}, None]
    assert frame["raw"].to_list() == [{"id": "c", "choices": [1]}, None]


def test_kept_columns_of_json_lines_keep_their_types_and_may_differ_by_row(tmp_path: Path) -> None:
    schema = RecordSchema("embeddings", keep=None)
    rows = [[embedded(0, kept={"n": 1, "chat": "kept"})], [embedded(1, kept={"m": "x"}), embedded(2)]]
    parts = write_folder(tmp_path, schema, "jsonl", {"a": rows})
    merge_parts(dict.fromkeys(parts), tmp_path / "m.jsonl", schema)
    for out in (tmp_path, tmp_path / "m.jsonl"):
        frame = read_scores(out)
        assert frame["n"].to_list() == [1, None, None]
        assert frame["m"].to_list() == [None, "x", None]
        assert np.stack(frame["embeddings"].to_list()).dtype == np.float32


def test_a_part_that_no_manifest_names_is_not_trusted(tmp_path: Path) -> None:
    parts = write_folder(tmp_path, CHAT, "jsonl", {"a": [[answered(0, "x")], [answered(1, "y")]]})
    assert len(read_scores(tmp_path)) == 2
    commit(tmp_path, "chat", "a", parts[:1])
    assert read_scores(tmp_path)["row"].to_list() == [0]


def test_parts_come_by_number_beyond_five_digits(tmp_path: Path) -> None:
    (tmp_path / "chat").mkdir()
    for number in (9, 100_000, 99_999):
        name = tmp_path / "chat" / f"part-a-0123abcd-{number:05d}.jsonl"
        name.write_text(f'{{"file":"a","row":{number},"chat":"x","finish_reason":"stop"}}\n')
    assert read_scores(tmp_path)["row"].to_list() == [9, 99_999, 100_000]


def test_several_tasks_need_a_choice(tmp_path: Path) -> None:
    write_folder(tmp_path, CHAT, "jsonl", {"a": [[answered(0, "x")]]})
    write_folder(tmp_path, replace(EMBEDDINGS, keep=()), "parquet", {"a": [[embedded(0)]]})
    with pytest.raises(InputError, match=r"holds embeddings and chat\. Choose one with task"):
        read_scores(tmp_path)
    assert len(read_scores(tmp_path, task="chat")) == 1
    assert len(read_scores(tmp_path, "embeddings")) == 1
    assert list(read_scores(tmp_path / "chat")["chat"]) == ["x"]
    with pytest.raises(InputError, match="no completions, only embeddings and chat"):
        read_scores(tmp_path, "completions")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_scores(tmp_path / "x")
    with pytest.raises(InputError, match="not an output of batchscore"):
        read_scores(tmp_path)
    (tmp_path / "chat").mkdir()
    with pytest.raises(InputError, match=r"no scores in it\. No row has .* yet\. Run the same score command"):
        read_scores(tmp_path)
    (tmp_path / "errors" / "chat").mkdir(parents=True)
    with pytest.raises(InputError, match=r"errors/chat says why rows failed"):
        read_scores(tmp_path)
    (tmp_path / "m.csv").touch()
    with pytest.raises(InputError, match=r"scores are in \.jsonl, \.parquet or \.arrow files"):
        read_scores(tmp_path / "m.csv")
    for name in ("m.parquet", "m.arrow"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match="cannot be read as scores"):
            read_scores(tmp_path / name)
    (tmp_path / "m.jsonl").write_text('{"file":"a","row":0,"chat":"x","finish_reason":"stop"}\n')
    with pytest.raises(InputError, match="no scores of embeddings"):
        read_scores(tmp_path / "m.jsonl", "embeddings")
    (tmp_path / "m.jsonl").write_text("[]\n")
    with pytest.raises(InputError, match="cannot be read as scores"):
        read_scores(tmp_path / "m.jsonl")


def test_a_missing_part_or_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    parts = write_folder(tmp_path, CHAT, "jsonl", {"a": [[answered(0, "x")], [answered(1, "y")]]})
    commit(tmp_path, "chat", "a", parts)
    parts[1].unlink()
    with pytest.raises(InputError, match=r"00001\.jsonl is missing \(missing parts: 1 of 2\)"):
        read_scores(tmp_path)
    (manifest,) = (tmp_path / "manifest" / "chat").iterdir()
    manifest.write_text("{}")
    with pytest.raises(InputError, match="is not a manifest that batchscore can read"):
        read_scores(tmp_path)


def test_arguments_of_another_type_are_refused() -> None:
    for out in (None, 3, ["out"]):
        with pytest.raises(UsageError, match=r"^out is .*; give the path of an output folder"):
            read_scores(cast("Any", out))
    with pytest.raises(UsageError, match=r"^task is a list; it must be one of embeddings"):
        read_scores("out", task=cast("Any", ["chat"]))


def test_a_task_with_error_records_alone_is_not_one_to_choose(tmp_path: Path) -> None:
    write_folder(tmp_path, CHAT, "jsonl", {"a.csv": [[answered(0, "one")]]})
    (tmp_path / "errors" / "completions").mkdir(parents=True)
    assert len(read_scores(tmp_path)) == 1
