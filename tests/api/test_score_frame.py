"""A table in memory comes back with its answers as columns."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchscore import BatchscoreError, InputError, UsageError, read_scores, score_files, score_frame
from batchscore.api import progress_text
from batchscore.output.merge import merge_output
from pictures import KINDS
from simulated import Deployment
from tickets import SCHEMA, closed

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("endpoint")]

TEXT = {"type": "string"}
SMALL = closed(
    category=SCHEMA["properties"]["category"],
    replies={"type": ["integer", "null"]},
    tags={"type": "array", "items": TEXT},
)


def score(frame: Any, deployment: Deployment, **settings: Any) -> Any:
    chosen: Any = {"task": "chat", "model": deployment.name, **settings}
    return score_frame(frame, **chosen)


def answer(deployment: Deployment, value: Any, **when: Any) -> None:
    """Let the deployment give this answer next."""
    message = {"role": "assistant", "content": json.dumps(value)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    deployment.will(status=200, body={"choices": [choice], "usage": usage}, **when)


def test_pandas_keeps_its_index_and_its_columns(deployment: Deployment) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "text": ["a tide", None, "a loaf"]}, index=["x", "y", "x"])
    before = frame.copy()
    found = score(frame, deployment)
    pd.testing.assert_frame_equal(frame, before)
    assert list(found.columns) == ["n", "text", "answer", "finish_reason", "error_code", "error_message"]
    assert list(found.index) == ["x", "y", "x"]
    assert found["n"].dtype == before["n"].dtype
    assert "tide" in found["answer"].iloc[0]
    assert "loaf" in found["answer"].iloc[2]
    assert [found[name].iloc[1] for name in ("answer", "finish_reason", "error_code")] == [
        None,
        None,
        "empty_input",
    ]
    assert found["error_code"].iloc[0] is None


def test_vectors_are_arrays(deployment: Deployment) -> None:
    found = score(pd.DataFrame({"text": ["one", "two"]}), deployment, task="embeddings", dimensions=8)
    assert np.stack(found["embeddings"]).shape == (2, 8)
    assert list(found.columns) == ["text", "embeddings", "error_code", "error_message"]


def test_a_schema_gives_a_column_for_each_field(deployment: Deployment) -> None:
    frame = pd.DataFrame({"text": ["a billing problem", "a bug", ""], "category": ["billing", "bug", "bug"]})
    found = score(frame, deployment, schema=SMALL, column="text")
    assert list(found.columns)[:5] == ["text", "category", "category_1", "replies", "tags"]
    assert found["category_1"].tolist() == ["billing", "bug", None]
    assert found["tags"].iloc[0] == ["a billing problem."]
    assert found["replies"].iloc[0] == 3
    assert pd.isna(found["replies"].iloc[2])


def test_numbers_and_truth_values_stay_so_if_rows_have_failed(deployment: Deployment) -> None:
    schema = closed(n={"type": "integer"}, yes={"type": "boolean"}, x={"type": "number"}, text=TEXT)
    answer(deployment, {"n": 2**53 + 1, "yes": True, "x": 1, "text": "a"})
    frame = pd.DataFrame({"text": ["one", None], "k": [1, 2]}, index=["a", "a"])
    found = score(frame, deployment, schema=schema, max_concurrency=1)
    assert found.dtypes.astype(str).tolist()[1:5] == ["int64", "Int64", "boolean", "float64"]
    assert found["n"].iloc[0] == 2**53 + 1
    assert found["n"].isna().tolist() == [False, True]
    assert found["text_1"].tolist() == ["a", None]
    answer(deployment, {"n": 1, "yes": False, "x": 1.5, "text": "a"})
    whole = score(frame.iloc[:1], deployment, schema=schema)
    assert whole.dtypes.astype(str).tolist()[2:5] == ["int64", "bool", "float64"]


#: A schema of which an answer may be anything else, too, and such answers.
OPEN = {"properties": {"a": {"type": "integer"}}}
ANSWERS: list[Any] = [{"a": 1}, {"a": 2, "note": "paid"}, ["b"], "c", 4, None]


def test_all_doors_show_whole_answers_that_have_more_than_their_fields(
    deployment: Deployment, tmp_path: Path
) -> None:
    texts = [f"text {number}." for number in range(len(ANSWERS))]
    chosen: Any = {"schema": OPEN, "schema_mode": "json_schema", "task": "chat", "model": deployment.name}

    def prepare() -> None:
        for text, value in zip(texts, ANSWERS, strict=True):
            answer(deployment, value, when_input_contains=text)

    prepare()
    frame = score_frame(pd.DataFrame({"text": texts, "A": 0}), column="text", **chosen)
    own = ["a_1", "answer", "finish_reason", "error_code", "error_message"]
    assert list(frame.columns) == ["text", "A", *own]
    assert frame["a_1"].fillna(0).tolist() == [1, 2, 0, 0, 0, 0]
    whole = [None, *ANSWERS[1:]]
    assert [None if pd.isna(text) else json.loads(text) for text in frame["answer"]] == whole
    assert frame["error_code"].isna().all()

    source = tmp_path / "in.csv"
    frame[["text", "A"]].to_csv(source, index=False)
    prepare()
    score_files(source, output=tmp_path / "out.csv", column="text", **chosen)
    cells = pd.read_csv(tmp_path / "out.csv", dtype=object, keep_default_na=False)
    assert list(cells.columns) == ["text", "A", *own]
    assert cells["a_1"].tolist() == ["1", "2", "", "", "", ""]
    texts_of = [
        "",
        *(each if isinstance(each, str) else json.dumps(each, separators=(",", ":")) for each in whole[1:5]),
        "",
    ]
    assert cells["answer"].tolist() == texts_of
    flat = read_scores(tmp_path / "out.csv", flatten=True)
    assert list(flat.columns) == ["file", "row", "a", "answer", "finish_reason"]
    assert flat["a"].dtype == frame["a_1"].dtype == "Int64"
    assert flat["a"].fillna(0).tolist() == [1, 2, 0, 0, 0, 0]
    assert flat["answer"].tolist() == whole


def test_answers_whose_field_looks_like_a_secret_are_merged_and_flattened(
    deployment: Deployment, tmp_path: Path
) -> None:
    name = "sk-proj-1234567890abcdef"
    answer(deployment, {name: "paid"})
    (tmp_path / "in.csv").write_text("text\none\n", "utf-8")
    out, merged = tmp_path / "out", tmp_path / "out.parquet"
    chosen: Any = {"task": "chat", "model": deployment.name, "schema": closed(**{name: TEXT})}
    score_files(tmp_path / "in.csv", output=out, **chosen)
    merge_output(out, merged)
    merge_output(out, tmp_path / "out.csv")
    assert f'"{{""{name}"":""paid""}}",stop' in (tmp_path / "out.csv").read_text("utf-8")
    for place in (out, merged):
        assert read_scores(place)["chat"].tolist() == [{name: "paid"}]
        assert read_scores(place, flatten=True)[name].tolist() == ["paid"]


@pytest.mark.parametrize(
    ("schema", "value", "cell"),
    [
        ({"type": "array", "items": TEXT}, ["a"], ["a"]),
        (TEXT, "a", "a"),
        ({"enum": ["a", "b"]}, "b", "b"),
        ({"anyOf": [closed(a=TEXT), TEXT]}, {"a": "x"}, '{"a":"x"}'),
        ({"type": "object"}, {"a": 1}, '{"a":1}'),
        ({"properties": {"a": TEXT}}, ["a"], '["a"]'),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}},
            [{"a": "x"}],
            [{"a": "x"}],
        ),
        ({"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}}, [{"b": 1}], '[{"b": 1}]'),
        ({"enum": [2**63]}, 2**63, str(2**63)),
    ],
)
@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
def test_an_answer_that_is_no_object_with_fields_is_one_column(
    library: str, schema: Any, value: Any, cell: Any, deployment: Deployment
) -> None:
    make = pa.table if library == "pyarrow" else pytest.importorskip(library).DataFrame
    answer(deployment, value)
    found = score(make({"text": ["one"]}), deployment, schema=schema, schema_mode="json_schema")
    (own,) = found["answer"].to_pylist() if library == "pyarrow" else list(found["answer"])
    assert (own.to_list() if hasattr(own, "to_list") else own) == cell


def test_pyarrow_gets_typed_columns(deployment: Deployment) -> None:
    table = pa.table({"text": pa.chunked_array([["a billing problem"], ["", "a bug"]])})
    found = score(table, deployment, schema=SMALL)
    assert found.schema.field("replies").type == pa.int64()
    assert found.schema.field("tags").type == pa.list_(pa.string())
    assert found["category"].to_pylist() == ["billing", None, "bug"]
    assert found["error_code"].to_pylist() == [None, "empty_input", None]
    vectors = score(table, deployment, task="embeddings", dimensions=4)
    assert vectors.schema.field("embeddings").type == pa.list_(pa.float32())
    whole = score(table, deployment, schema={"type": "array", "items": TEXT})
    assert whole.schema.field("answer").type == pa.list_(pa.string())
    two = score(table, deployment, param={"n": 2})
    assert two.schema.field("answer").type == pa.list_(pa.string())


def test_polars_gets_typed_columns(deployment: Deployment) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"text": ["a billing problem", None], "n": [1, None]})
    schema = closed(**SMALL["properties"], self=TEXT)
    found = score(frame, deployment, schema=schema, prompt="{text} {n}")
    assert found["replies"].dtype == pl.Int64
    assert found["tags"].dtype == pl.List(pl.String)
    assert found["category"].to_list() == ["billing", None]
    assert found.columns == [
        *("text", "n", "category", "replies", "tags", "self", "finish_reason", "error_code", "error_message")
    ]
    again = score(found, deployment, prompt="{text} {n}")
    assert again.columns[9:] == ["answer", "finish_reason_1", "error_code_1", "error_message_1"]
    assert again[:, :9].equals(found)
    vectors = score(frame[:1], deployment, task="embeddings", dimensions=4, column="text")
    assert vectors["embeddings"].dtype == pl.List(pl.Float32)
    with pytest.raises(UsageError, match="collect"):
        score(frame.lazy(), deployment)


def test_cells_mean_what_a_pandas_user_expects(deployment: Deployment) -> None:
    frame = pd.DataFrame(
        {
            "a": pd.array([1, pd.NA], dtype="Int64"),
            "b": [pd.Timestamp("2026-11-30"), pd.NaT],
            "c": np.array([0.1, np.nan], dtype=np.float32),
            "d": [np.array([1, 2]), None],
            "e": [Decimal("1.50"), Decimal("NaN")],
            "f": pd.Categorical(["x", None]),
            "g": [dt.date(2026, 11, 30), None],
            "h": [np.int64(7), np.nan],
            "i": [True, pd.NA],
        }
    )
    template = "|".join(f"{{{name}}}" for name in frame.columns)
    found = score(frame, deployment, prompt=template)
    (body,) = [each.body for each in deployment.requests()]
    assert body["messages"][0]["content"] == "1|2026-11-30T00:00:00|0.1|[1,2]|1.50|x|2026-11-30|7.0|true"
    assert found["error_code"].tolist() == [None, "empty_input"]


def test_columns_whose_names_are_numbers_are_used_by_their_text(deployment: Deployment) -> None:
    found = score(pd.DataFrame({0: ["a tide"], 1: [5]}), deployment, column="0")
    assert "tide" in found["answer"].iloc[0]
    assert list(found.columns)[:2] == [0, 1]


@pytest.mark.parametrize(
    ("frame", "settings", "error", "message"),
    [
        ([{"text": "a"}], {}, UsageError, "frame is builtins.list; give a DataFrame of pandas or polars"),
        (pd.Series(["a"]), {}, UsageError, "frame is pandas.Series; give a DataFrame"),
        (pd.DataFrame([["a", "b"]], columns=["t", "t"]), {}, UsageError, "two columns called 't'"),
        (pd.DataFrame({"text": ["a"]}), {"column": "txet"}, InputError, "txet"),
        (pd.DataFrame({"text": ["a"]}), {"usage": 5}, UsageError, "usage is 5"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_first_request(
    frame: Any, settings: dict[str, Any], error: type[Exception], message: str, deployment: Deployment
) -> None:
    with pytest.raises(error, match=message):
        score(frame, deployment, **settings)
    assert deployment.statistics().count == 0


def test_a_frame_without_rows_comes_back_with_its_columns(deployment: Deployment) -> None:
    found = score(pd.DataFrame({"text": []}), deployment, schema=SMALL)
    assert list(found.columns) == [
        "text",
        "category",
        "replies",
        "tags",
        "finish_reason",
        "error_code",
        "error_message",
    ]
    assert deployment.statistics().count == 0


def test_an_error_that_ends_the_work_hands_over_what_was_paid_for(deployment: Deployment) -> None:
    deployment.will(times=2)
    deployment.will(status=402, times=None)
    frame = pd.DataFrame({"text": [f"row {number}" for number in range(5)]})
    with pytest.raises(BatchscoreError) as error:
        score(frame, deployment, max_concurrency=1)
    codes = error.value.frame["error_code"].tolist()
    assert codes.count(None) == 2
    assert codes.count("not_reached") == 3


@pytest.mark.slow
def test_control_c_hands_over_what_was_paid_for(deployment: Deployment) -> None:
    deployment.will(times=2)
    deployment.will_be_slow(60.0, times=None)

    def interrupt() -> None:
        deployment.wait_for(3)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    frame = pd.DataFrame({"text": [f"row {number}" for number in range(5)]})
    with pytest.raises(KeyboardInterrupt) as stopped:
        score(frame, deployment, max_concurrency=1)
    codes = vars(stopped.value)["frame"]["error_code"].tolist()
    assert (codes.count(None), codes.count("not_reached")) == (2, 3)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_in_a_terminal_and_nothing_in_a_file(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"text": ["one", ""]})
    for stream, seen in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        score(frame, deployment, progress=True)
        assert ("2 of 2 rows (100%), 1 failed" in stream.getvalue()) is seen


def test_the_line_says_what_is_done_and_left() -> None:
    assert progress_text.line(0, 10, 0, 0.0) == "0 of 10 rows (0%), 0.0 rows/s"
    assert (
        progress_text.line(500, 1500, 3, 10.0) == "500 of 1,500 rows (33%), 3 failed, 50.0 rows/s, 20 s left"
    )


def test_progress_in_a_notebook_updates_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """What IPython's kernels offer: `display` with an id gives a handle with `update`."""
    seen: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            seen.append(data["text/plain"])

    class Shell:
        kernel = object()

    ipython, module = type(sys)("IPython"), type(sys)("IPython.display")
    ipython.get_ipython = Shell  # type: ignore[attr-defined]
    module.display = lambda *_, **__: Handle()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with progress_text.shown(3, wanted=True) as count:
        for _ in range(3):
            count(0)
    assert seen[-1].startswith("3 of 3 rows (100%)")


def test_a_column_of_images(deployment: Deployment) -> None:
    """A column of bytes is no text, so the question is found by itself."""
    image = KINDS["webp"]
    frame = pd.DataFrame({"question": ["How many?", "Which?"], "photo": [image, image[:20]]}, index=[7, 9])
    for table in (frame, pa.Table.from_pandas(frame, preserve_index=False)):
        scored = score(table, deployment, image="photo")
        codes = scored["error_code"]
        assert (codes.tolist() if table is frame else codes.to_pylist())[1] == "unreadable_image"
    (first, _) = deployment.requests()
    assert [part["type"] for part in first.body["messages"][0]["content"]] == ["text", "image_url"]
