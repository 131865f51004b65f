"""Error records and changes as frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchscore import InputError, read_changes, read_errors, score_files

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("tmp_path", "endpoint")]


ROWS = ["1,Tides,The tide turns.", "2,None,", "3,Refused,simulate-content-filter"]


def score(rows: list[str], **settings: Any) -> None:
    Path("a.csv").write_text("\n".join(["id,title,text", *rows, ""]), "utf-8")
    chosen: Any = {"task": "chat", "model": "m", "column": "text", **settings}
    score_files("a.csv", output="out", **chosen)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_failed_rows_are_a_frame(form: str) -> None:
    score(ROWS, format=form, id="id", keep=["title"])
    frame = read_errors("out")
    assert list(frame.columns) == [
        *("file", "row", "id", "title", "error_code", "error_message", "status", "attempts"),
    ]
    assert frame["error_code"].tolist() == ["empty_input", "content_filter"]
    assert frame["row"].tolist() == [1, 2]
    assert frame["id"].tolist() == ["2", "3"]
    assert frame["status"].isna().tolist() == [True, False]
    assert frame["attempts"].tolist() == [0, 1]
    # A damaged part is an error, not fewer rows.
    (part,) = Path("out/errors/chat").iterdir()
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(InputError, match="verify"):
        read_errors("out")


def test_a_kept_column_keeps_its_name() -> None:
    Path("a.csv").write_text("text,status,error_code\nsimulate-content-filter,new,x\n", "utf-8")
    chosen: Any = {"task": "chat", "model": "m", "column": "text", "keep": ["status", "error_code"]}
    score_files("a.csv", output="out", **chosen)
    (row,) = read_errors("out").to_dict("records")
    assert row["status"] == "new"
    assert row["error_code"] == "x"
    assert row["error_code_1"] == "content_filter"
    assert row["status_1"] == 400
    assert list(row)[-4:] == ["error_code_1", "error_message", "status_1", "attempts"]


def test_columns_that_the_first_error_record_lacks_are_there() -> None:
    """The row that cannot be read has no columns to keep."""
    Path("a.jsonl").write_text('not JSON\n{"text":"","x":"1"}\n{"text":"a","x":"2"}\n', "utf-8")
    score_files("a.jsonl", output="out", task="chat", model="m", column="text", keep=["*"])
    assert read_errors("out")["x"].tolist() == [None, "1"]


def test_without_failures_the_frame_is_empty() -> None:
    score(ROWS[:1])
    frame = read_errors("out")
    assert len(frame) == 0
    assert list(frame.columns) == ["file", "row", "error_code", "error_message", "status", "attempts"]
    assert len(read_changes("out")) == 0
    with pytest.raises(InputError):
        read_errors("nowhere")


def test_changes_are_a_frame_in_the_order_of_the_runs() -> None:
    score(ROWS[:1], incremental=True, id="id")
    first = read_changes("out")
    assert first["change"].tolist() == ["new"]
    score(["4,New,A loaf.", "1,Tides,The tide turns again."], incremental=True, id="id")
    both = read_changes("out")
    assert sorted(zip(both["change"], both["id"], strict=True)) == [
        ("changed", "1"),
        ("new", "1"),
        ("new", "4"),
    ]
    later = read_changes("out", after=first["run"].iloc[0])
    assert len(later) == 2
    assert set(later["run"]) == {both["run"].iloc[-1]}
