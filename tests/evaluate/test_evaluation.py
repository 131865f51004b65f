"""A whole evaluation: labels are joined, every labelled row counts, the same input gives the same bytes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore.errors import (
    BatchscoreError,
    InputChanged,
    InputError,
    OutputError,
    SettingsError,
    UsageError,
)
from batchscore.evaluate.labels import answer_of, read_labels
from batchscore.evaluate.qrels import read_qrels
from batchscore.evaluate.scored import open_scores
from batchscore.evaluate.tasks import EVALUATION_TASKS, guess_task
from batchscore.rows import Score
from evaluated import FAILED, measured, run, write_input, write_scores, write_vectors

LABELS = ["pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg"]
ANSWERS = [
    "pos",
    "neg",
    "Answer: pos",
    "pos",
    "no idea",
    "pos or neg",
    "",
    FAILED,
    Score("po", "length"),
    "neg",
]
ROWS = [{"id": f"r{n}", "text": f"text {n}", "label": label} for n, label in enumerate(LABELS)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_input(tmp_path / "in" / "a.csv", ROWS)


def test_every_labelled_row_is_in_one_class(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    found = measured(tmp_path / "e", scores, "--label", "label")
    (model,) = found["models"]
    assert found["task"] == "text-classification"
    assert model["outcomes"] == {
        "answered": 5,
        "no_label_found": 1,
        "several_labels": 1,
        "truncated": 1,
        "empty": 1,
        "error:timeout": 1,
    }
    assert model["labels_found_by"] == {"whole": 4, "marker": 1}
    accuracy = model["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["rows"]) == (0.4, 10)
    assert (accuracy["of_answered"], accuracy["answered"], model["coverage"]) == (0.8, 5, 0.5)
    assert model["confusion_matrix"] == [[2, 1, 2], [0, 2, 3]]
    table = pq.read_table(tmp_path / "e" / "rows.parquet").to_pylist()
    assert len(table) == 10
    assert [row["outcome"] for row in table].count("answered") == 5


@pytest.mark.parametrize("way", ["kept", "input", "file"])
def test_labels_come_from_three_places(tmp_path: Path, source: Path, way: str) -> None:
    keep = ["label"] if way == "kept" else []
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=keep, id_column="id")
    words: list[str | Path] = ["--label", "label"]
    if way == "file":
        gold = write_input(tmp_path / "gold.csv", ROWS[::-1])
        words += ["--labels", gold, "--on", "id"]
    if way == "input":
        words += ["--base-dir", source.parent]
    (model,) = measured(tmp_path / "e", scores, *words)["models"]
    assert model["metrics"]["accuracy"]["value"] == 0.4
    assert model["join"]["labelled"] == 10


def test_an_error_names_the_earlier_evaluation_that_stays(tmp_path: Path, source: Path) -> None:
    """Who reads the files after it must know that they are not of this command."""
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    words = (scores, "-o", tmp_path / "e", "--label")
    said = run(*words, "other", error=InputError).exception
    assert isinstance(said, BatchscoreError)
    assert "earlier evaluation" not in said.text
    assert run(*words, "label").exit_code == 0
    before = (tmp_path / "e" / "metrics.json").read_bytes()
    said = run(*words, "other", error=InputError).exception
    assert isinstance(said, BatchscoreError)
    assert said.text.endswith(f". The files in {tmp_path / 'e'} are of an earlier evaluation.")
    said = run(*words, "label", "--require", "accuracy>=90", error=UsageError).exception
    assert isinstance(said, BatchscoreError)
    assert "meant? The files in" in said.text
    assert (tmp_path / "e" / "metrics.json").read_bytes() == before


def test_rows_that_were_never_scored_count(tmp_path: Path, source: Path) -> None:
    """They are read from the input again, even if the records hold the labels."""
    answers = [*ANSWERS[:4], *([...] * 6)]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label", "--base-dir", source.parent)["models"]
    assert model["outcomes"] == {"answered": 4, "not_reached": 6}
    assert model["metrics"]["accuracy"]["value"] == 0.3


@pytest.mark.parametrize(
    ("given", "left", "gone"),
    [
        (None, ["a.csv", "b.csv"], []),
        (None, ["a.csv"], ["b.csv"]),
        (None, [], []),  # all were moved
        ("in", ["a.csv"], ["b.csv"]),  # as in a pipeline, where the folder is another one in each job
        ("in", [], ["a.csv", "b.csv"]),
    ],
)
def test_files_that_are_gone_from_the_inputs_are_named(
    tmp_path: Path, source: Path, given: str | None, left: list[str], gone: list[str]
) -> None:
    """Their records count, as the labels that they hold do."""
    write_input(source.parent / "b.csv", ROWS)
    for name in ("a.csv", "b.csv"):
        scores = write_scores(tmp_path / "s", source.parent / name, LABELS, keep=["label"])
    files = [{"file": name, "state": "not_started"} for name in ("a.csv", "b.csv")]
    base = str(source.parent) if given is None else "/mnt/of_an_earlier_job"
    record = {"settings": {"task": "chat"}, "files": files, "exit_code": None, "base": f"{base}/"}
    (scores / "runs").mkdir()
    (scores / "runs" / "1.json").write_text(json.dumps(record))
    for name in {"a.csv", "b.csv"} - {*left}:
        (source.parent / name).unlink()
    more = [] if given is None else ["--base-dir", source.parent]
    (model,) = measured(tmp_path / "e", scores, "--label", "label", *more)["models"]
    assert model["join"]["labelled"] == 20
    said = [
        text for text in model["notices"] if "gone from the inputs, whose rows count all the same" in text
    ]
    assert len(said) == bool(gone)
    assert all(f": {', '.join(gone)}. To remove their records" in text for text in said)


@pytest.mark.parametrize(
    ("limit", "outcomes"),
    [
        (None, {"answered": 4, "not_reached": 7}),
        (4, {"answered": 4}),  # the run has ended
        (2, {"answered": 4}),  # an earlier run had no limit
        (6, {"answered": 4, "not_reached": 2}),  # it was stopped
        (8, {"answered": 4, "not_reached": 4}),  # also in the second file
        (100, {"answered": 4, "not_reached": 7}),
    ],
)
def test_the_rows_up_to_a_limit_count(
    tmp_path: Path, source: Path, limit: int | None, outcomes: Mapping[str, int]
) -> None:
    """Those that a stopped run has not read, too; the first file has 7 rows."""
    write_input(source, ROWS[:7])
    write_input(source.parent / "b.csv", ROWS[:4])
    answers = ["pos", "neg", "pos", "neg", *([...] * 3)]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"], read=4)
    files = [{"file": name, "state": "not_started"} for name in ("a.csv", "b.csv")]
    record = {"settings": {"task": "chat", "limit": limit}, "files": files, "exit_code": None}
    (scores / "runs").mkdir()
    (scores / "runs" / "20260101T000000Z.json").write_text(json.dumps(record), "utf-8")
    words = (scores, "--label", "label", "--base-dir", source.parent)
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert model["outcomes"] == outcomes


def test_an_input_that_changed_is_refused(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS)
    source.write_text(source.read_text("utf-8").replace("pos", "neg"), "utf-8")
    run(scores, "--label", "label", "--base-dir", source.parent, "-o", tmp_path / "e", error=InputChanged)
    assert not (tmp_path / "e" / "rows.parquet").exists()


def test_what_does_not_fit_is_counted_on_both_sides(tmp_path: Path) -> None:
    rows = [{"id": each} for each in ("a", "b", "b", "c", "d", "x")]
    source = write_input(tmp_path / "in" / "a.csv", rows)
    scores = write_scores(tmp_path / "s", source, ["1", "1", "1", "1", "1", "1"], id_column="id")
    pairs = [("a", "1"), ("b", "1"), ("b", "1"), ("c", "1"), ("c", "2"), ("e", "1"), ("x", ""), ("d", "2")]
    pairs += [("", "2"), ("", "")]  # a label that fits no row, and an empty line
    gold = write_input(tmp_path / "gold.csv", [{"id": key, "label": label} for key, label in pairs])
    found = measured(tmp_path / "e", scores, "--labels", gold, "--on", "id", "--as", "classification")
    join = found["models"][0]["join"]
    assert join == {
        "rows": 6,
        "labelled": 4,
        "rows_without_label": 2,
        "duplicate_rows": 1,
        "duplicate_labels": 2,
        "conflicting_labels": 1,
        "failed_unlabelled": 0,
        "unmatched_labels": 2,
        "documents": 0,
        "documents_missing": 0,
        "others_without_vector": 0,
        "others_limited": False,
        "rows_learned_from": 0,
        "labels_like_nan": 0,
        "tags_of_other_length": 0,
        "labels_without_tokens": 0,
        "unmatched_ids": [],
        "not_in_other_outputs": 0,
        "failed_not_in_other_outputs": 0,
    }
    shown = run(scores, "--labels", gold, "--on", "id", "-o", tmp_path / "e").stdout
    assert "labels without a row: 2" in shown
    assert (
        "Labels of 1 id differ, and count for no row. Another label than before is in gold.csv, row 4 ("
        in shown
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "nope"),
        ("--label", "label", "--metric", "bleu"),
        ("--label", "label", "--labels", "pos"),
        ("--label", "label", "--as", "regression"),
        ("--label", "label", "--by", "nope"),
        ("--label", "label", "--field", "a"),
    ],
)
def test_an_evaluation_that_fails_leaves_nothing(tmp_path: Path, source: Path, words: Sequence[str]) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    for out in (tmp_path / "e", tmp_path / "new" / "e"):
        run(scores, *words, "--base-dir", source.parent, "-o", out, error=BatchscoreError)
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "new").exists()
    (tmp_path / "e").mkdir()
    run(scores, *words, "--base-dir", source.parent, "-o", tmp_path / "e", error=BatchscoreError)
    assert not list((tmp_path / "e").iterdir())


@pytest.mark.parametrize(
    ("ids", "golds", "joined", "code"),
    [
        (["1", "2", "3", "4"], ["01", "02", "3", "04"], 1, 6),  # neither side fits
        (["a", "b", "c", "d"], ["A ", "B", "c", "D"], 1, 6),
        (["1", "2", "3", "4"], ["3"], 1, 0),  # a sample of the rows has labels
        (["3"], ["1", "2", "3", "4"], 1, 0),  # the labels are of more rows
        (["1", "2", "3", "4"], ["1", "2", "3", "x"], 3, 0),
    ],
)
def test_ids_that_hardly_fit_meet_no_requirement(
    tmp_path: Path, ids: Sequence[str], golds: Sequence[str], joined: int, code: int
) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"id": each} for each in ids])
    scores = write_scores(tmp_path / "s", source, ["yes"] * len(ids), id_column="id")
    gold = write_input(tmp_path / "gold.csv", [{"id": each, "label": "yes"} for each in golds])
    words = (scores, "--labels", gold, "--on", "id", "--as", "classification", "-o", tmp_path / "e")
    done = run(*words, "--require", "accuracy>=0.9", "--require", "coverage>=99%")
    assert done.exit_code == code
    assert ("NOT MET: rows_with_label or labels_with_row>=50%" in done.stdout) == (code == 6)
    if len(ids) == len(golds):
        assert f"{joined} of {len(ids)} rows found a label, and " in done.stdout
        assert ("write the ids alike" in done.stdout) == (code == 6)
    asked = run(*words, "--require", f"labels_with_row>={joined / len(golds)}")
    assert asked.exit_code == 0
    assert run(*words, "--require", "labels_with_row>=100%").exit_code == (6 if joined < len(golds) else 0)


def test_ids_that_do_not_fit_at_all_are_shown(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"id": "1"}])
    scores = write_scores(tmp_path / "s", source, ["yes"], id_column="id")
    gold = write_input(tmp_path / "gold.csv", [{"id": "001", "label": "yes"}])
    done = run(scores, "--labels", gold, "--on", "id", "-o", tmp_path / "e", error=InputError)
    assert "'1' and a label has '001'" in str(done.exception)


def test_rows_that_were_scored_without_ids(tmp_path: Path, source: Path) -> None:
    """Their ids are read from the input; a column that is not there is named, with the way out."""
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    gold = write_input(tmp_path / "gold.csv", ROWS)
    words = (scores, "--labels", gold, "--label", "label", "--base-dir", source.parent)
    (model,) = measured(tmp_path / "e", *words, "--on", "id")["models"]
    assert (model["join"]["labelled"], model["metrics"]["accuracy"]["value"]) == (10, 0.4)
    gone = run(scores, "--labels", gold, "--label", "label", "--on", "id", "--base-dir", tmp_path,
               "-o", tmp_path / "e", error=InputError)  # fmt: skip
    assert "was scored without" in str(gone.exception)
    assert "is not there" in str(gone.exception)
    other = write_input(tmp_path / "other.csv", [{"key": "r0", "label": "pos"}])
    words = (scores, "--labels", other, "--label", "label", "--base-dir", source.parent)
    done = run(*words, "--on", "key", "-o", tmp_path / "e", error=InputError)
    assert "It was scored without" in str(done.exception)
    assert "with --label alone" in str(done.exception)


def test_spellings_of_a_label_are_one_label(tmp_path: Path) -> None:
    """Those that occur, and it is said; labels that the user names stay different."""
    labels = ["billing", " billing ", "BILLING", "delivery", "billing", "Delivery."]
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in labels])
    answers = ["billing", "billing", "billing", "delivery", "delivery", "delivery"]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    found = measured(tmp_path / "e", scores, "--label", "label")
    assert found["labels"] == ["billing", "delivery"]
    assert found["models"][0]["metrics"]["accuracy"]["value"] == pytest.approx(5 / 6)
    (notice,) = found["notices"]
    assert "' billing '" in notice
    assert "--labels" in notice
    assert notice in run(scores, "--label", "label", "-o", tmp_path / "e").stdout
    apart = write_input(tmp_path / "in" / "b.csv", [{"label": each} for each in ("A", "a", "A", "a")])
    scores = write_scores(tmp_path / "t", apart, ["A", "A", "A", "a"], keep=["label"])
    found = measured(tmp_path / "e", scores, "--label", "label", "--labels", "A,a")
    assert (found["labels"], found["notices"]) == (["A", "a"], [])
    assert found["models"][0]["metrics"]["accuracy"]["value"] == 0.75


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (['{"label": "pos", "why": "x"}'] * 10, "'verdict'. Their fields are: label, why. Name one of them"),
        ([{"label": "pos"}] * 9 + [FAILED], "Their fields are: label."),
        (["pos"] * 10, "None of the answers is a JSON object"),
    ],
)
@pytest.mark.parametrize("task", ["text-classification", "question-answering", "text-generation"])
def test_a_field_that_no_answer_has(
    tmp_path: Path, source: Path, answers: Sequence[Any], words: str, task: str
) -> None:
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    asked = (scores, "--label", "label", "--as", task, "--field", "verdict", "-o", tmp_path / "e")
    assert words in str(run(*asked, error=InputError).exception)
    good = write_scores(tmp_path / "good", source, ['{"verdict": "pos"}'] * 10, keep=["label"])
    shown = run(good, *asked, "--resamples", "20").stdout
    assert words.split(". Name", maxsplit=1)[0] in shown


def test_tags_that_fit_no_words_are_said(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "['B-PER', 'O']"}] * 3)
    scores = write_scores(tmp_path / "s", source, ["B-PER O", "B-PER", '{"tags": null}'], keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label")["models"]
    assert model["outcomes"] == {"answered": 1, "no_label_found": 2}
    assert "1 answer with more or fewer tags than the label" in model["notices"][0]
    empty = write_scores(tmp_path / "t", source, ['{"tags": null}'] * 3, keep=["label"])
    (model,) = measured(tmp_path / "e", empty, "--label", "label", "--field", "tags")["models"]
    assert model["coverage"] == 0


def test_what_is_no_label_is_said(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in ("a", "b", "NaN", "")] * 2)
    scores = write_scores(tmp_path / "s", source, ["a"] * 8, keep=["label"])
    other = write_scores(tmp_path / "t", source, ["b"] * 8, keep=["label"])
    shown = run(scores, other, "--label", "label", "--cluster", "label", "--base-dir", source.parent,
                "-o", tmp_path / "e", "--resamples", "20").stdout  # fmt: skip
    assert (
        shown.count("2 rows with a label such as NaN or null, which counts as a label like any other.") == 2
    )
    assert "Not compared with the baseline, since no test fits these rows: f1_score_macro" in shown


@pytest.mark.parametrize(("task", "number"), [("question-answering", 2), ("text-generation", 2), ("ner", 0)])
def test_texts_in_place_of_a_missing_answer_are_said(tmp_path: Path, task: str, number: int) -> None:
    """They count as an answer that no model gives."""
    golds = ['["O"]', "[]", '["O"]'] if task == "ner" else ["a cat", "NaN", "NULL"]
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in golds])
    scores = write_scores(tmp_path / "s", source, golds, keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label", "--as", task)["models"]
    assert model["join"]["labels_like_nan"] == number
    assert any("with a label such as NaN or null" in each for each in model["notices"]) == bool(number)


@pytest.mark.parametrize("task", ["knn", "embedding-classification"])
def test_labels_that_nothing_was_learned_of_are_said(tmp_path: Path, task: str) -> None:
    rng = np.random.default_rng(1)
    train = [{"label": each} for each in ["a", "b"] * 8]
    test = [{"label": each} for each in ("a", "b", "c", "c")]
    learned = write_vectors(tmp_path / "train", train, [*rng.random((16, 4), np.float32)], keep=["label"])
    scores = write_vectors(tmp_path / "test", test, [*rng.random((4, 4), np.float32)], keep=["label"])
    words = (scores, "--train", learned, "--label", "label", "--as", task)
    said = "No row of --train with a vector has the label 'c': no row with such a label can be right."
    assert said in measured(tmp_path / "e", *words)["notices"]
    kappa = run(*words, "--metric", "quadratic_kappa", "-o", tmp_path / "e", error=UsageError)
    assert ("Use cohen_kappa." if task == "knn" else "has no metric") in str(kappa.exception)
    assert "--labels" not in str(kappa.exception)


@pytest.mark.parametrize(("labels", "task"), [(["pos", "neg"], "classification"), (["1", "2"], "regression")])
def test_a_pattern_that_finds_nothing_is_said(tmp_path: Path, labels: list[str], task: str) -> None:
    """The column of the labels is not what is wrong."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in labels])
    scores = write_scores(tmp_path / "s", source, labels, keep=["label"])
    words = (scores, "--label", "label", "--as", task, "--pattern", "x(y)")
    (model,) = measured(tmp_path / "e", *words)["models"]
    what = "a number" if task == "regression" else "one of the labels"
    said = f"--pattern gives {what} in no text. Compare it with the most frequent texts."
    (notice,) = model["notices"]
    assert notice.startswith(said)
    assert ("name these with --map" in notice) == (task != "regression")


def test_a_query_may_not_find_itself(tmp_path: Path) -> None:
    """As for duplicates of questions: each is a query and a document."""
    rows = [{"id": name} for name in ("q1", "q2", "q3")]
    angles: list[Any] = [np.array([np.cos(each), np.sin(each)], np.float32) for each in (0, 0.1, 1)]
    texts = write_vectors(tmp_path / "q", rows, angles, id_column="id")
    qrels = tmp_path / "qrels.csv"
    qrels.write_text("qid,doc_id\nq1,q2\nq2,q1\nq2,lost\n", "utf-8")
    words = (texts, "--documents", texts, "--qrels", qrels)
    (plain,) = measured(tmp_path / "e", *words)["models"]
    (other,) = measured(tmp_path / "e", *words, "--ignore-identical-ids")["models"]
    assert [each["metrics"]["mrr_at_10"]["value"] for each in (plain, other)] == [0.5, 1]
    assert other["join"]["documents_missing"] == 1
    assert "1 relevant document cannot be found" in other["notices"][0]
    qrels.write_text("qid,doc_id\nq1,d9\n", "utf-8")
    none = run(*words, "-o", tmp_path / "e", error=InputError)
    assert "'d9'; a document there is 'q1'" in str(none.exception)


def test_vectors_are_not_measured_on_themselves(tmp_path: Path) -> None:
    rows = [{"id": str(place), "colour": "red" if place % 2 else "blue"} for place in range(6)]
    vectors: list[Any] = [*np.eye(2, dtype=np.float32)] * 3
    one = write_vectors(tmp_path / "a", rows, vectors, keep=["colour"], id_column="id")
    copy = write_vectors(tmp_path / "b", rows, vectors, keep=["colour"], id_column="id")
    words = ("--label", "colour", "--as", "knn", "-o", tmp_path / "e")
    for train in (one, copy):
        done = run(one, *words, "--train", train, error=UsageError)
        assert "rows that it learned from" in str(done.exception)
    other = write_vectors(tmp_path / "c", rows[::-1], vectors, keep=["colour"], id_column="id")
    near = run(one, *words, "--train", other, "--resamples", "20")
    assert "6 rows with the same vector as a row of --train" in near.stdout
    gold = write_input(tmp_path / "gold.csv", rows)
    by_id = run(one, *words, "--train", other, "--labels", gold, "--on", "id", error=InputError)
    assert "learned from" in str(by_id.exception)
    strange = write_input(tmp_path / "d" / "other.csv", rows)
    apart = write_scores(tmp_path / "d" / "s", strange, vectors, task="embeddings")
    words = ("--label", "colour", "-o", tmp_path / "e")
    assert "no row has a partner" in str(
        run(other, "--pair", apart, "--label", "id", "-o", tmp_path / "e", error=InputError).exception
    )
    pair = run(one, "--pair", one, "--label", "colour", "-o", tmp_path / "e", error=UsageError)
    assert "--pair" in str(pair.exception)


def test_two_models_on_the_same_rows(tmp_path: Path, source: Path) -> None:
    one = write_scores(tmp_path / "one", source, ANSWERS, keep=["label"])
    two = write_scores(tmp_path / "two", source, LABELS, keep=["label"])
    words = (one, two, "--label", "label", "--names", "small,large")
    found = measured(tmp_path / "e", *words, "--require", "accuracy>baseline+0.1")
    comparison = found["models"][1]["comparisons"]["accuracy"]
    assert (comparison["difference"], comparison["wins"], comparison["losses"], comparison["ties"]) == (
        0.6,
        6,
        0,
        4,
    )
    assert comparison["p_value"] == pytest.approx(2 / 64)
    assert found["models"][0]["comparisons"] == {}
    assert [each["name"] for each in found["models"]] == ["small", "large"]
    met = [(each["model"], each["met"]) for each in found["requirements"]]
    assert met == [("large", True), ("small", False)]  # rows of the baseline failed
    other = measured(tmp_path / "e", *words, "--baseline", "large")
    assert other["models"][0]["comparisons"]["accuracy"]["difference"] == -0.6


@pytest.mark.parametrize(
    "task", ["text-classification", "question-answering", "text-summarization", "regression"]
)
def test_versions_of_a_file_are_not_compared(tmp_path: Path, task: str) -> None:
    rows = [{"label": str(number)} for number in range(4)]
    outputs = []
    for name, chosen in (("one", rows), ("two", rows[::-1])):
        source = write_input(tmp_path / name / "in.csv", chosen)
        answers = [row["label"] for row in chosen]
        outputs.append(write_scores(tmp_path / f"{name} s", source, answers, keep=["label"]))
    done = run(*outputs, "--label", "label", "--as", task, "-o", tmp_path / "e", error=InputError)
    assert "different labels for the same rows" in str(done.exception)


@pytest.mark.parametrize("answer", [["York, NY", "b"], '["York, NY", "b"]'])
def test_labels_of_a_list_may_have_commas(tmp_path: Path, answer: Any) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": '["York, NY", "a"]'}, {"label": "7"}])
    scores = write_scores(tmp_path / "s", source, [answer, 7], keep=["label"])
    words = ("--label", "label", "--as", "text-classification-multilabel")
    found = measured(tmp_path / "e", scores, *words)
    assert found["definition"].startswith("micro averages over the labels of all rows")
    assert found["models"][0]["metrics"]["f1_score_micro"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["a.csv", "c.csv"])
def test_a_file_without_the_column_of_labels_is_refused(tmp_path: Path, name: str) -> None:
    source = write_input(tmp_path / "in" / "b.csv", [{"text": "1", "label": "x"}] * 4)
    other = write_input(tmp_path / "in" / name, [{"text": "1", "Label": "x"}] * 4)
    write_scores(tmp_path / "s", source, ["x"] * 4)
    scores = write_scores(tmp_path / "s", other, ["x"] * 4)
    words = (scores, "--base-dir", source.parent, "--label", "label", "-o", tmp_path / "e")
    done = run(*words, error=InputError)
    assert f"{name} has no column 'label'. Is it 'Label'?" in str(done.exception)


def test_rows_with_the_same_id_count_alone_and_compared(tmp_path: Path) -> None:
    rows = [{"id": str(number // 2)} for number in range(20)]
    source = write_input(tmp_path / "in.csv", rows)
    gold = write_input(tmp_path / "gold.csv", [{"id": str(number), "label": "a"} for number in range(10)])
    one = write_scores(tmp_path / "one", source, ["a", "b"] * 10, id_column="id")
    two = write_scores(tmp_path / "two", source, ["a"] * 20, id_column="id")
    words = ("--labels", gold, "--on", "id", "--labels", "a,b")
    for outputs in ((one,), (one, two)):
        model = measured(tmp_path / "e", *outputs, *words)["models"][0]
        assert (model["metrics"]["accuracy"]["value"], model["metrics"]["accuracy"]["rows"]) == (0.5, 20)


def test_a_comparison_says_on_which_rows_it_is(tmp_path: Path) -> None:
    """Lists have no worst answer, so rows that one has not answered are left out of their micro F1."""
    source = write_input(tmp_path / "in.csv", [{"label": "a,b"}] * 10)
    one = write_scores(tmp_path / "one", source, ["a,b"] * 8 + ["a"] * 2, keep=["label"])
    two = write_scores(tmp_path / "two", source, ["a"] * 7 + ["a,b", FAILED, FAILED], keep=["label"])
    words = (one, two, "--label", "label", "--as", "multilabel", "-o", tmp_path / "e")
    said = [line for line in run(*words).stdout.splitlines() if "against" in line]
    assert [each.endswith("; on 8 of 10 rows") for each in said if "micro" in each] == [True]
    (sampled,) = [each for each in said if "f1_score_samples" in each]
    assert sampled.endswith("; 0 better, 9 worse")
    found = json.loads((tmp_path / "e" / "metrics.json").read_bytes())["models"][1]["comparisons"]
    counts = [
        [found[name][each] for each in ("wins", "losses", "ties")] for name in ("f1_score_micro", "recall")
    ]
    assert counts == [[None] * 3] * 2
    assert found["f1_score_samples"]["ties"] == 1


def test_counts_are_of_the_measured_rows_alone(tmp_path: Path, source: Path) -> None:
    """Of rows that other outputs have not nothing is counted; they stay in the table, marked as such."""
    one = write_scores(
        tmp_path / "one", source, ["x", "pos", Score("pos.", "length"), Score("neg.", "length"), *"xxyyyz"],
        keep=["label"],
    )  # fmt: skip
    few = write_input(tmp_path / "few" / "a.csv", ROWS[:3])
    two = write_scores(tmp_path / "two", few, ["pos", "neg", "y"], keep=["label"])
    found = measured(tmp_path / "e", one, two, "--label", "label")
    assert (found["rows"], found["models"][0]["join"]["not_in_other_outputs"]) == (3, 7)
    assert found["models"][0]["answers_cut"] == 1
    table = pq.read_table(tmp_path / "e" / "rows.parquet").to_pylist()
    assert [row["measured"] for row in table] == [True] * 3 + [False] * 7 + [True] * 3
    assert [row["outcome"] for row in table if row["measured"]].count("answered") == 4
    said = run(one, two, "--label", "label", "-o", tmp_path / "e").output
    assert '1 x "x"' in said
    assert '"y"' in said
    assert '"z"' not in said
    page = (tmp_path / "e" / "evaluation.html").read_text()
    assert page.count(">z<") == 0
    (alone,) = measured(tmp_path / "e", one, "--label", "label")["models"]
    assert alone["answers_cut"] == 2
    assert all(pq.read_table(tmp_path / "e" / "rows.parquet")["measured"].to_pylist())


def test_odd_labels_are_counted_in_the_measured_rows_alone(tmp_path: Path) -> None:
    rows = [{"label": label} for label in ("a", "b", "NaN", "NaN")]
    source, few = write_input(tmp_path / "in.csv", rows), write_input(tmp_path / "few" / "in.csv", rows[:3])
    one = write_scores(tmp_path / "one", source, ["a", "b", "c", "d"], keep=["label"])
    two = write_scores(tmp_path / "two", few, ["a", "b", "c"], keep=["label"])
    for model in measured(tmp_path / "e", one, two, "--label", "label")["models"]:
        assert model["join"]["labels_like_nan"] == 1


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label", "text"])
    names = ("metrics.json", "rows.parquet")
    kept = []
    for _ in range(2):
        measured(tmp_path / "e", scores, "--label", "label", "--by", "label", "--cluster", "text")
        kept.append([(tmp_path / "e" / name).read_bytes() for name in names])
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("accuracy>=0.4", 0),
        ("accuracy>0.4", 6),
        ("coverage>=99%", 6),
        ("coverage>=50%", 0),
        ("rows>=10", 0),
        ("rows>=11", 6),
        ("rows_with_label>=99%", 0),
        ("cohen_kappa<=0", 6),
        ("accuracy<=0.5", 6),  # rows that fail could meet it
    ],
)
def test_gates(tmp_path: Path, source: Path, rule: str, code: int) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    done = run(scores, "--label", "label", "--require", rule, "-o", tmp_path / "e", "--resamples", "20")
    assert done.exit_code == code
    assert ("NOT MET" in done.stdout) == (code == 6)
    if rule.startswith("rows>"):
        assert ": 10)" in done.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), UsageError),
        (("--label", "absent"), InputError),
        (("--label", "label", "--by", ""), InputError),
        (("--label", "label", "--cluster", ""), InputError),
        (("--label", "Label"), InputError),
        (("--label", "label", "--require", "good"), UsageError),
        (("--label", "label", "--require", "bleu>=1"), UsageError),
        (("--label", "label", "--metric", "bleu"), UsageError),
        (("--label", "label", "--as", "chess"), UsageError),
        (("--label", "label", "--as", "regression"), InputError),
        (("--label", "label", "--as", "token-classification"), InputError),
        (("--label", "label", "--labels", "pos"), InputError),
        (("--label", "label", "--pattern", "("), UsageError),
        (("--label", "label", "--names", "a,b"), UsageError),
        (("--label", "label", "--baseline", "z"), UsageError),
        (("--label", "label", "--confidence", "95"), UsageError),
        (("--labels", "none.csv", "--on", "id"), InputError),
        (("--label", "label", "--on", "id"), UsageError),
        (("--label", "label", "--require", "accuracy>=baseline"), UsageError),
        (("--label", "label", "--require", "coverage>=99"), UsageError),
        (("--label", "label", "--require", "coverage<=99%"), UsageError),
        (("--label", "label", "--require", "accuracy>=90"), UsageError),
        (("--label", "label", "--field", "verdict"), InputError),
    ],
)
def test_a_mistake_is_a_message(
    tmp_path: Path, source: Path, words: Sequence[str], error: type[BatchscoreError]
) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    base = ("--base-dir", str(source.parent))
    message = str(run(scores, *words, *base, "-o", tmp_path / "e", error=error).exception)
    assert "Is it 'label'?" in message or "Label" not in words


@pytest.mark.parametrize("name", ["rows.parquet", "metrics.json", "evaluation.html"])
def test_an_evaluation_is_not_written_among_scores(tmp_path: Path, source: Path, name: str) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    run(scores, "--label", "label", "-o", scores, error=OutputError)
    folder = tmp_path / "e"
    run(scores, "--label", "label", "-o", folder)
    for file in folder.iterdir():
        if file.name != name:
            file.unlink()  # as if it was killed, or a file of ours was moved
    run(scores, "--label", "label", "-o", folder)
    (folder / name).write_text('{"accuracy": 1}', "utf-8")
    done = run(scores, "--label", "label", "-o", folder, error=OutputError)
    assert f"{name} was not written by batchscore" in str(done.exception)
    assert (folder / name).read_text("utf-8") == '{"accuracy": 1}'
    if name == "rows.parquet":
        pq.write_table(pa.table({"label": ["mine"]}), folder / name)
        run(scores, "--label", "label", "-o", folder, error=OutputError)


@pytest.mark.parametrize("answers", [[FAILED] * 10, [""] * 10, ["neither"] * 10])
def test_all_rows_failed(tmp_path: Path, source: Path, answers: Sequence[Any]) -> None:
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label")["models"]
    assert model["metrics"]["accuracy"]["value"] == 0
    assert model["metrics"]["accuracy"]["of_answered"] is None
    assert model["coverage"] == 0
    found = measured(
        tmp_path / "e", scores, scores, "--label", "label", "--unanswered", "exclude", "--names", "a,b"
    )
    assert found["detectable_difference"] is None


#: Task, label, answers, and the figures that they give.
TASKS: Mapping[str, tuple[Sequence[Any], Sequence[Any], Mapping[str, float]]] = {
    "question-answering": (
        ["Paris", '["Rome", "Roma"]', "the sea", "x"],
        ["in Paris", "Roma.", "Sea", FAILED],
        {"f1_score": (2 / 3 + 1 + 1) / 4, "exact_match": 0.5},
    ),
    "text-summarization": (
        ["a b c d", "x"],
        ["a b", FAILED],
        {"rouge1": 1 / 3, "rouge2": 0.25, "rougeL": 1 / 3},
    ),
    "token-classification": (
        ['[{"text": "Ann", "type": "PER"}]', "[]", "['B-PER', 'O']"],
        ['{"entities": [{"text": "ann", "type": "per"}, {"text": "x", "type": "LOC"}]}', "[]", "B-PER O"],
        {"f1_score_micro": 0.8, "precision": 2 / 3, "recall": 1},
    ),
    "text-classification-multilabel": (
        ['["Red", "dark blue"]', "red; green", ""],
        ['{"colours": ["red", "Dark-Blue", "green"]}', "Green, red", FAILED],
        {"f1_score_micro": 8 / 9, "precision": 0.8, "recall": 1},
    ),
    "regression": (
        ["1", "2", "3", "4"],
        ["1.5", "about 2", FAILED, "The score is 4.5"],
        {
            "mean_absolute_error": 1 / 3,
            "root_mean_squared_error": (0.5 / 3) ** 0.5,
            "spearman_correlation": 1,
        },
    ),
    "text-translation": (["the cat sat on the mat"] * 2, ["the cat sat on the mat", FAILED], {}),
}


@pytest.mark.parametrize("task", TASKS)
def test_each_task(tmp_path: Path, task: str) -> None:
    if task == "text-translation":
        pytest.importorskip("sacrebleu")
    labels, answers, figures = TASKS[task]
    source = write_input(tmp_path / "in" / "a.csv", [{"label": label} for label in labels])
    one = write_scores(tmp_path / "s", source, answers, keep=["label"])
    two = write_scores(tmp_path / "t", source, [FAILED, *answers[1:]], keep=["label"])
    found = measured(tmp_path / "e", one, two, "--label", "label", "--as", task)
    metrics = {name: each["of_answered"] for name, each in found["models"][0]["metrics"].items()}
    for name, each in found["models"][0]["metrics"].items():
        assert each["unanswered"] in {"none", "worst", "withheld"}
        assert (each["value"] is None) == (each["unanswered"] == "withheld"), name
        if each["unanswered"] == "worst":
            metrics[name] = each["value"]
    assert {name: metrics[name] for name in figures} == pytest.approx(dict(figures))
    assert found["signatures"].keys() == (metrics.keys() if task == "text-translation" else set())
    for name, each in found["models"][0]["metrics"].items():
        assert each["low"] is None or each["low"] <= each["value"] <= each["high"], name
    assert found["models"][1]["comparisons"].keys() == metrics.keys()


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["a", "b", "a", "b"], "text-classification"),
        (["a", "b", "c", "a", "b", "d"], "text-classification"),
        (["refund"], "text-classification"),
        (["Paris", "Rome", "Oslo"], "question-answering"),
        (["Paris", "Rome", "Oslo", "Bonn", "Rome"], "question-answering"),
        (["yes", "Yes", "no", " NO "], "text-classification"),
        (["0.5", "12", "3e4", ""], "regression"),
        (["1", "2", "1", "2"], "text-classification"),
        (["1", "2", "1"], "text-classification"),
        (["a long text that nobody repeats", "another of as many words as that"], "text-generation"),
        (["['B-PER', 'O']"], "token-classification"),
        (['["Rome", "Roma"]'], "question-answering"),
        (['["Rome", "Roma"]', "Oslo"] * 4, "question-answering"),
    ],
)  # fmt: skip
def test_the_task_is_guessed_and_shown(tmp_path: Path, labels: Sequence[str], task: str) -> None:
    """If the labels may be for another task, the way to say so is shown, too."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": label} for label in labels])
    scores = write_scores(tmp_path / "s", source, ["x"] * len(labels), keep=["label"])
    shown = run(scores, "--label", "label", "-o", tmp_path / "e", "--resamples", "20").stdout
    assert shown.startswith(f"{task} (guessed; choose with --as)")
    other = {
        ("a", "b", "c", "a", "b", "d"): "question-answering",
        ("refund",): "question-answering",
        ("1", "2", "1"): "regression",
        ("Paris", "Rome", "Oslo"): "text-classification",
        ("Paris", "Rome", "Oslo", "Bonn", "Rome"): "text-classification",
        ("a long text that nobody repeats", "another of as many words as that"): "text-classification",
        ('["Rome", "Roma"]', "Oslo") * 4: "text-classification-multilabel",
    }.get(tuple(labels))
    assert ("Guessed from" in shown) == (other is not None)
    assert other is None or re.search(f", add --as {other}[.;]", shown)


TOPICS = ["a", "b", "c"]
LONG = [f"the {n} boats of the harbour wait for the tide" for n in range(9)]


@pytest.mark.parametrize(
    ("labels", "task", "others"),
    [
        ([TOPICS[: 1 + n % 3] for n in range(9)], "question-answering", ["text-classification-multilabel"]),
        ([", ".join(TOPICS[n % 3 :]) for n in range(9)], "text-classification", []),
        (["a", "a, b", "b;c", "c", "a|c", "a, b, c", "b"], "question-answering",
         ["text-classification", "text-classification-multilabel"]),
        (["York, NY", "Reno, NV"] * 9, "text-classification", []),
        ([[text, f"{text} there"] for text in LONG], "question-answering",
         ["text-generation", "text-translation"]),
        ([["Paris", "paris, France"], ["Rome"]], "question-answering", []),
        (LONG, "text-generation", ["text-classification", "text-translation"]),
        ([f"{text} {text}" for text in LONG], "text-generation", ["text-translation"]),
        (["x"], "text-classification", ["question-answering"]),
        (["pos", "neg"] * 5, "text-classification", []),
    ],
)  # fmt: skip
def test_labels_that_leave_the_task_open(labels: Sequence[Any], task: str, others: Sequence[str]) -> None:
    found, words = guess_task(labels)
    assert (found.name, re.findall(r"--as ([\w-]+)", words)) == (task, others)
    assert "1 label (1" not in words


@pytest.mark.parametrize("failed", [range(10), (0,), (3, 4, 5), (6, 7), (9, 2)])
def test_failed_rows_never_raise_the_headline(tmp_path: Path, source: Path, failed: Sequence[int]) -> None:
    """Whichever rows fail, right ones or wrong ones; of all figures see `test_classification`."""
    values = []
    for name, places in (("s", ()), ("t", failed)):
        answers = [FAILED if place in places else each for place, each in enumerate(ANSWERS)]
        scores = write_scores(tmp_path / name, source, answers, keep=["label"])
        found = measured(tmp_path / "e", scores, "--label", "label")
        values.append(found["models"][0]["metrics"][found["main_metric"]])
    assert values[1]["value"] <= values[0]["value"]
    assert values[1]["rows"] == 10


def test_similarity_of_pairs_of_vectors(tmp_path: Path) -> None:
    """Two outputs of the same input, one for each column of texts; a pair without a vector is left out."""
    golds = ["5", "4", "0", "1", "2"]
    source = write_input(tmp_path / "in" / "a.csv", [{"score": gold} for gold in golds])
    angles = [0.1, 0.5, 1.5, 1.2, 1.0]
    one = [np.array([1, 0], dtype=np.float32)] * 5
    two = [np.array([np.cos(angle), np.sin(angle)], dtype=np.float32) for angle in angles]
    first = write_scores(tmp_path / "s", source, one, keep=["score"], task="embeddings")
    second = write_scores(tmp_path / "t", source, [*two[:4], FAILED], keep=["score"], task="embeddings")
    found = measured(tmp_path / "e", first, "--pair", second, "--label", "score")
    (model,) = found["models"]
    assert found["task"] == "sts"
    spearman = model["metrics"]["cosine_spearman"]
    assert spearman["of_answered"] == pytest.approx(1)
    assert (spearman["value"], spearman["unanswered"], spearman["rows"]) == (None, "withheld", 5)
    assert model["outcomes"] == {"answered": 4, "error:timeout": 1}
    assert "Not known over all rows, since rows failed" in found["notices"][-1]
    words = ("--pair", second, "--label", "score", "--unanswered", "exclude")
    (model,) = measured(tmp_path / "e", first, *words)["models"]
    spearman = model["metrics"]["cosine_spearman"]
    assert spearman["value"] == pytest.approx(1)
    assert (spearman["unanswered"], spearman["rows"], model["coverage"]) == ("excluded", 4, 0.8)
    run(first, "--label", "score", "-o", tmp_path / "e", error=UsageError)
    run(first, "--label", "score", "--as", "sts", "-o", tmp_path / "e", error=UsageError)


@pytest.mark.process  # joblib asks the system for its processors
@pytest.mark.slow
def test_a_probe_of_vectors(tmp_path: Path) -> None:
    """Classes that lie apart are found; a row without a vector is wrong."""
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(4)
    outputs = []
    for name, count in (("train", 60), ("test", 30)):
        labels = [("red", "green", "blue")[place % 3] for place in range(count)]
        places = np.arange(count) % 3
        vectors = (np.eye(3)[places] * 4 + generator.normal(size=(count, 3))).astype(np.float32)
        source = write_input(tmp_path / name / "a.csv", [{"colour": label} for label in labels])
        answers: list[Any] = list(vectors)
        if name == "test":
            answers[:3] = [FAILED] * 3
        out = tmp_path / f"{name}-scores"
        outputs.append(write_scores(out, source, answers, keep=["colour"], task="embeddings"))
    train, test = outputs
    found = measured(tmp_path / "e", test, "--train", train, "--label", "colour")
    (model,) = found["models"]
    assert found["task"] == "embedding-classification"
    accuracy = model["metrics"]["accuracy"]
    assert accuracy["of_answered"] > 0.9
    assert accuracy["value"] == pytest.approx(0.9 * accuracy["of_answered"])
    assert model["metrics"]["f1_score_macro"]["value"] > 0.85
    assert (model["coverage"], model["outcomes"]["error:timeout"]) == (0.9, 3)
    again = measured(tmp_path / "f", test, "--train", train, "--label", "colour")
    assert again == found
    run(test, "--label", "colour", "-o", tmp_path / "e", error=UsageError)
    run(test, "--label", "colour", "--as", "linear-probe", "-o", tmp_path / "e", error=UsageError)


def test_a_single_row_is_a_clear_result(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "yes"}])
    scores = write_scores(tmp_path / "s", source, ["yes"], keep=["label"])
    shown = run(scores, "--label", "label", "--metric", "cohen_kappa", "-o", tmp_path / "e").stdout
    assert "accuracy              1.0000       0.2065 to 1.0000" in shown
    assert "cohen_kappa           not defined" in shown
    f1 = next(line for line in shown.splitlines() if "f1_score_macro" in line)
    assert f1.split() == ["f1_score_macro", "1.0000", "no", "interval", "1.0000", "(1)"]
    two = write_scores(tmp_path / "t", source, ["no"], keep=["label"])
    (_, model) = measured(tmp_path / "e", scores, two, "--label", "label")["models"]
    assert [name for name, each in model["comparisons"].items() if each is not None] == ["accuracy"]
    assert "This set has too few rows to show a difference between two models of which" in shown
    assert "NaN" not in (tmp_path / "e" / "metrics.json").read_text("utf-8")


@pytest.mark.slow
def test_documents_are_ranked_for_queries_as_trec_eval_does(tmp_path: Path) -> None:
    """Its own test files, as vectors whose cosines are the scores: each topic's figures, to four digits."""
    published = Path(__file__).parent / "published"
    lines = gzip.decompress((published / "trec_eval-results.test.gz").read_bytes()).decode().splitlines()
    topics = sorted({line.split()[0] for line in lines})
    scores: dict[str, list[float]] = {}
    for line in lines:
        topic, _, name, _, score, _ = line.split()
        scores.setdefault(name, [0.0] * 3)[topics.index(topic)] = float(score) / 1000
    vectors = [np.array([*each, (1 - np.square(each).sum()) ** 0.5], np.float32) for each in scores.values()]
    ids = [{"docno": name} for name in scores]
    documents = write_vectors(tmp_path / "d", ids, vectors, id_column="docno")
    qrels = tmp_path / "qrels"
    qrels.write_bytes(gzip.decompress((published / "trec_eval-qrels.test.gz").read_bytes()))
    asked: list[Any] = [*np.eye(3, 4, dtype=np.float32)]
    rows = [{"topic": topic} for topic in topics]
    queries = write_vectors(tmp_path / "q", rows, asked, id_column="topic")
    shorter = write_vectors(tmp_path / "p", rows, [asked[0], FAILED, asked[2]], id_column="topic")
    more = ("--metric", "ndcg_at_5", "--metric", "mrr")
    found = measured(tmp_path / "e", queries, shorter, "--documents", documents, "--qrels", qrels, *more)
    table = pq.read_table(tmp_path / "e" / "rows.parquet").to_pylist()
    ours = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100", "precision_at_10": "P_10"}
    ours |= {"map_at_10": "map_cut_10", "mrr": "recip_rank", "ndcg_at_5": "ndcg_cut_5"}
    expected = {}
    for line in gzip.decompress((published / "trec_eval-out.test.aq.gz").read_bytes()).decode().splitlines():
        name, topic, value = line.split(maxsplit=2)
        expected[name, topic] = value
    for topic, row in zip(topics, table, strict=False):
        of_row = dict(row["scores"])
        assert {name: f"{of_row[name]:.4f}" for name in ours} == {
            name: expected[theirs, topic] for name, theirs in ours.items()
        }
    one, two = found["models"]
    assert found["task"] == "retrieval"
    for name, theirs in ours.items():
        assert f"{one['metrics'][name]['value']:.4f}" == expected[theirs, "all"]
    assert two["coverage"] == pytest.approx(2 / 3)
    assert two["metrics"]["ndcg_at_10"]["value"] < one["metrics"]["ndcg_at_10"]["value"]
    assert two["comparisons"]["ndcg_at_10"]["losses"] == 1
    lacking = write_vectors(tmp_path / "f", [*ids, {"docno": "lost"}], [*vectors, FAILED], id_column="docno")
    (model,) = measured(tmp_path / "e", queries, "--documents", lacking, "--qrels", qrels)["models"]
    assert (model["join"]["documents"], model["join"]["others_without_vector"]) == (len(scores), 1)
    assert model["metrics"]["ndcg_at_10"]["unanswered"] == "withheld"  # it may have hidden a relevant one
    assert model["metrics"]["ndcg_at_10"]["value"] is None
    assert model["metrics"]["ndcg_at_10"]["of_answered"] is None


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("q1 0 d1 1\nq1 0 d2 0\nq2 0 d2 2\nq3 0 d1 1\n", ".test"),
        ("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td2\t2\nq3\td1\t1\n", ".tsv"),
        ("qid,doc_id\nq1,d1\nq2,d2\nq3,d1\n", ".csv"),
    ],
)
def test_relevances_as_files_hold_them(tmp_path: Path, text: str, suffix: str) -> None:
    """One query of the file has no row, which is counted; one row has no relevances, and so no label."""
    pair: list[Any] = [*np.eye(2, dtype=np.float32)]
    documents = write_vectors(tmp_path / "d", [{"id": "d1"}, {"id": "d2"}], pair, id_column="id")
    names = [{"id": name} for name in ("q1", "q2", "other")]
    queries = write_vectors(tmp_path / "q", names, [*pair, pair[0]], id_column="id")
    qrels = tmp_path / f"qrels{suffix}"
    qrels.write_text(text, "utf-8")
    words = (queries, "--documents", documents, "--qrels", qrels)
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert model["metrics"]["mrr_at_10"]["value"] == 1
    assert (model["join"]["unmatched_labels"], model["join"]["rows_without_label"]) == (1, 1)
    assert "without a relevance above 0" not in " ".join(model["notices"])
    run(queries, "--documents", documents, "-o", tmp_path / "e", error=UsageError)
    run(*words, "--metric", "ndcg_at_0", "-o", tmp_path / "e", error=UsageError)
    run(*words, "--as", "sts", "-o", tmp_path / "e", error=UsageError)
    qrels.write_text(text.replace("d2", ""), "utf-8")
    run(*words, "-o", tmp_path / "e", error=InputError)


def test_queries_without_a_relevant_document_are_said(tmp_path: Path) -> None:
    """As trec_eval does, they count as 0, whatever is found."""
    pair: list[Any] = [*np.eye(2, dtype=np.float32)]
    documents = write_vectors(tmp_path / "d", [{"id": "d1"}, {"id": "d2"}], pair, id_column="id")
    queries = write_vectors(tmp_path / "q", [{"id": "q1"}, {"id": "q2"}], pair, id_column="id")
    (tmp_path / "qrels.trec").write_text("q1 0 d1 1\nq2 0 d2 0\nq2 0 d1 -1\n")
    words = (queries, "--documents", documents, "--qrels", tmp_path / "qrels.trec")
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert {each["value"] for name, each in model["metrics"].items() if "precision" not in name} == {0.5}
    assert "1 row without a relevance above 0, and so with figures of 0." in model["notices"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "qrels.jsonl",
            '{"qid": "q1", "doc_id": "d1"}\n{"qid": "q1", "doc\n',
            "qrels.jsonl, row 1 (the first",
        ),
        ("qrels.jsonl", '{"qid": "q1", "doc_id": "d1"}\n{"qid": "q1"}\n', "row 0): the document is missing."),
        ("qrels.csv", "query,doc_id,score\nq1,d1,1\nq2,d2,0.5\n", "is not a whole number, such as 0 or 1."),
        ("qrels.csv", "query,doc_id,score\n", "qrels.csv has no rows of relevances."),
        ("qrels.csv", "", "qrels.csv is empty."),
        (
            "qrels.trec",
            "q1 0 d1 1\n\nq2 0 d2\n",
            "qrels.trec, line 3 has 3 fields. The lines of TREC have four,",
        ),
        (
            "qrels.trec",
            "q1 0 d1\nq2 0 d2 1\n",
            "qrels.trec, line 1 has 3 fields. The lines of TREC have four,",
        ),
        ("qrels.trec", "q1 0 d1 1\nq2 0 d2 high\n", "qrels.trec, line 2: the relevance is not a whole"),
    ],
)
def test_a_relevance_that_cannot_be_read_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    """To leave it out would change the figures."""
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_qrels(str(tmp_path / name), "id")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["qrels.trec.gz", "qrels.gz", "qrels.tsv.gz"])
def test_relevances_of_trec_may_be_compressed(tmp_path: Path, name: str) -> None:
    text = gzip.compress(b"q1 0 d1 1\n") + gzip.compress(b"q2 0 d2 1\n")
    (tmp_path / name).write_bytes(text)
    assert read_qrels(str(tmp_path / name), "id").by_id == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    for damaged in (text[:-9], text[:30] + b"?" + text[31:], text[:-30] + b"????" + text[-26:]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match="gzip"):
            read_qrels(str(tmp_path / name), "id")


def test_the_id_of_a_document_is_no_missing_label(tmp_path: Path) -> None:
    pair: list[Any] = [*np.eye(2, dtype=np.float32)]
    documents = write_vectors(tmp_path / "d", [{"id": "null"}, {"id": "d2"}], pair, id_column="id")
    queries = write_vectors(tmp_path / "q", [{"id": "q1"}], pair[:1], id_column="id")
    (tmp_path / "qrels.trec").write_text("q1 0 null 1\n")
    words = (queries, "--documents", documents, "--qrels", tmp_path / "qrels.trec")
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert model["notices"] == []


def test_an_empty_file_in_a_folder_of_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold" / "a.csv").write_text("id,label\nr1,pos\n")
    (tmp_path / "gold" / "b.csv").write_text("")
    with pytest.raises(InputError) as caught:
        read_labels(str(tmp_path / "gold"), "id", "label")
    assert str(caught.value) == f"b.csv in {tmp_path / 'gold'} is empty."


def test_relevances_of_trec_may_begin_with_a_mark(tmp_path: Path) -> None:
    """Some editors write one before UTF-8; it is no part of the first query."""
    (tmp_path / "qrels.trec").write_text("q1 0 d1 1\r\nq2 0 d2 1\r\n", "utf-8-sig", newline="")
    assert read_qrels(str(tmp_path / "qrels.trec"), "id").by_id == {"q1": {"d1": 1}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\n", "has a header, but no rows of labels below it."),
        ("", "is empty."),
        ("id,label\n,pos\n", "no row has a value in the column 'id'."),
        ("id,label,label\nr1,pos,neg\n", "has several columns 'label', so it is not clear which is meant."),
        ("id,id,label\nr1,1,neg\n", "has several columns 'id', so it is not clear which is meant."),
    ],
)
def test_a_file_without_labels_says_what_it_has(tmp_path: Path, source: Path, text: str, words: str) -> None:
    scores = write_scores(tmp_path / "s", source, ANSWERS, id_column="id")
    (tmp_path / "gold.csv").write_text(text, "utf-8")
    words_given = (scores, "--labels", tmp_path / "gold.csv", "--on", "id", "--label", "label")
    words_given = (*words_given, "-o", tmp_path / "e")
    assert words in str(run(*words_given, error=InputError).exception)


def test_the_nearest_rows_classify(tmp_path: Path) -> None:
    """Each model has training rows of its own, since vectors of two models cannot be compared."""
    colours = ["red", "blue"] * 5
    outputs, trained = list[Path](), list[str | Path]()
    for name, size in (("small", 2), ("large", 3)):
        eye: list[Any] = [*np.eye(2, size, dtype=np.float32)] * 5
        rows = [{"colour": colour, "text": "a test"} for colour in colours]
        known = [{"colour": colour, "text": "to learn from"} for colour in colours]
        train = write_vectors(tmp_path / name / "train", known, eye, keep=["colour"])
        answers = [*eye[:8], eye[0], FAILED]
        test = write_vectors(tmp_path / name / "test", rows, answers, keep=["colour"])
        outputs.append(test)
        trained += ["--train", train]
    words = (*outputs, *trained, "--label", "colour", "--as", "knn", "--names", "small,large")
    found = measured(tmp_path / "e", *words)
    for model in found["models"]:
        assert model["metrics"]["accuracy"]["value"] == 0.9
        assert model["metrics"]["accuracy"]["method"] == "wilson"
        assert model["confusion_matrix"] == [[4, 0, 1], [0, 5, 0]]
    assert found["models"][1]["comparisons"]["accuracy"]["difference"] == 0


@pytest.mark.process  # joblib asks the system for its processors
@pytest.mark.slow
def test_clusters_are_compared_with_labels(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(4)
    rows = [{"topic": "abc"[place % 3]} for place in range(60)]
    vectors = [
        (np.eye(3)[place % 3] * 5 + generator.normal(size=3) / 4).astype(np.float32) for place in range(60)
    ]
    scores = write_vectors(tmp_path / "v", rows, [*vectors[:59], FAILED], keep=["topic"])
    found = measured(tmp_path / "e", scores, "--label", "topic", "--as", "clustering")
    (model,) = found["models"]
    assert model["metrics"]["v_measure"]["value"] is None
    assert model["metrics"]["v_measure"]["of_answered"] > 0.9
    assert model["coverage"] == 59 / 60
    again = measured(tmp_path / "f", scores, "--label", "topic", "--as", "clustering")
    assert again == found


def test_options_in_the_file_of_settings(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag wins; an unknown key, and an address in a file that nobody named, are refused."""
    monkeypatch.chdir(tmp_path)
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["label"])
    file = tmp_path / "batchscore.toml"
    table = '[evaluate]\nlabel = "label"\nrequire = ["accuracy>=0.9"]\nlabels = ["pos", "neg"]\n'
    table += "ignore_identical_ids = true\n"
    file.write_text(f'model = "m"\n{table}', "utf-8")
    assert run(scores).exit_code == 6
    assert run(scores, "--require", "accuracy>=0.1").exit_code == 0
    file.write_text(f"{table}unknown = 1", "utf-8")
    run(scores, error=UsageError)
    file.write_text('[evaluate]\nlabel = "label"\noutput = "s3://elsewhere/out"', "utf-8")
    run(scores, error=SettingsError)
    assert "--config batchscore.toml" in str(run(scores, error=SettingsError).exception)


#: For each task of texts, two labels and a right answer to the second.
HARD: Mapping[str, tuple[str, str, str]] = {
    "text-classification": ("a", "b", "b"),
    "token-classification": ("['O']", "['B-X']", "B-X"),
    "question-answering": ("a", '["b", "c"]', "c"),
    "text-summarization": ("a", "b", "b"),
    "text-translation": ("a", "b", "b"),
    "fill-mask": ("a", "b", "b"),
    "regression": ("1", "2", "2"),
}


@pytest.mark.parametrize("task", HARD)
def test_hard_inputs_give_clear_results(tmp_path: Path, task: str) -> None:
    """All rows failed; one row; one bad row among others; labels that are NaN or empty are no labels."""
    if task == "text-translation":
        pytest.importorskip("sacrebleu")
    first, second, right = HARD[task]
    cases: Mapping[str, tuple[Sequence[Any], Sequence[Any]]] = {
        "failed": ([first, second], [FAILED, FAILED]),
        "one": ([second], [right]),
        "one bad": ([second] * 4, [right, right, "\ud800\x00 odd \u202e", right]),
        "no label": ([second, "", " "], [right, right, right]),
    }
    for name, (labels, answers) in cases.items():
        source = write_input(tmp_path / name / "a.csv", [{"label": label} for label in labels])
        scores = write_scores(tmp_path / f"{name} s", source, answers, keep=["label"])
        found = measured(tmp_path / "e", scores, "--label", "label", "--as", task)
        (model,) = found["models"]
        assert found["rows"] == {"failed": 2, "one": 1, "one bad": 4, "no label": 1}[name]
        assert "NaN" not in (tmp_path / "e" / "metrics.json").read_text("utf-8")
        main = model["metrics"][found["main_metric"]]
        if name == "failed":
            assert main["value"] == (None if task in {"regression", "text-translation"} else 0)
            assert main["of_answered"] is None
        elif name == "one bad":
            assert (main["rows"], main["value"] is None) == (4, task == "regression")
            assert task == "regression" or 0 < main["value"] < (100 if task == "text-translation" else 1)
        assert model["join"]["rows_without_label"] == (2 if name == "no label" else 0)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("task", ["sts", "embedding-classification", "knn", "clustering", "retrieval"])
@pytest.mark.parametrize("answers", [0, 1, 3])
def test_vectors_that_are_missing_or_zero(tmp_path: Path, task: str, answers: int) -> None:
    """Of four rows, none, one or three have a vector, and one has zeros; no record holds NaN."""
    pytest.importorskip("sklearn")
    eye: list[Any] = [*np.eye(4, dtype=np.float32)]
    rows = [{"id": f"d{n}", "label": str(n % 2)} for n in range(4)]
    kept: Any = {"keep": ["label"], "id_column": "id"}
    some: list[Any] = [*eye[:answers], *[FAILED] * (3 - answers)]
    some.append(np.zeros(4, np.float32) if answers else FAILED)
    whole = write_vectors(tmp_path / "whole", rows, eye, **kept)
    scores = write_vectors(tmp_path / "some", rows, some, **kept)
    others = [{**row, "id": f"other {row['id']}"} for row in rows]
    learned = write_vectors(tmp_path / "learned", others, eye, **kept)
    (tmp_path / "qrels").write_text("d0 0 d0 1\nd1 0 d2 1\nd2 0 d0 1\nd3 0 d3 1\n", "utf-8")
    more: Mapping[str, Sequence[str | Path]] = {
        "sts": ("--pair", whole),
        "embedding-classification": ("--train", learned),
        "knn": ("--train", learned),
        "clustering": (),
        "retrieval": ("--documents", whole, "--qrels", tmp_path / "qrels"),
    }
    label = () if task == "retrieval" else ("--label", "label")
    found = measured(tmp_path / "e", scores, *label, "--as", task, *more[task])
    (model,) = found["models"]
    assert model["coverage"] == (answers + 1) / 4 if answers else model["coverage"] == 0
    assert sum(model["outcomes"].values()) == 4
    assert "NaN" not in (tmp_path / "e" / "metrics.json").read_text("utf-8")
    if answers == 0:
        main = model["metrics"][found["main_metric"]]
        assert main["value"] == (None if task in {"sts", "clustering"} else 0)


def test_labels_that_rouge_cannot_read_are_reported(tmp_path: Path) -> None:
    """Its tokens are a to z: in another script every answer has 0, also the right one."""
    source = write_input(tmp_path / "a.csv", [{"label": "東京 です"}, {"label": "Tokyo"}])
    scores = write_scores(tmp_path / "s", source, ["東京 です", "Tokyo"], keep=["label"])
    words = (scores, "--label", "label", "--as", "text-generation", "-o", tmp_path / "e")
    assert "ROUGE finds nothing in 1 label, as in those in other scripts." in run(*words).stdout
    assert "ROUGE finds nothing in 1 label, as" in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


def test_the_number_of_an_answer(tmp_path: Path) -> None:
    """A decimal comma gives no number, rather than a wrong one."""
    right = ["4.5", "$4.50", "It is 1,234.5.", "It is 1,234, and no more."]
    wrong = ["4,5", "It is 4,5.", "It is 3,3.", "Not 4, but 3,5", "It is 1.000,1", "2.5kg"]
    wrong += ["4_5", "It is 1_000.", "nan", "inf", "-Infinity", "1e999", "0x4"]
    right += ["45e-1"]
    source = write_input(tmp_path / "in.csv", [{"label": "4.5"}] * len(right + wrong))
    scores = write_scores(tmp_path / "s", source, [*right, *wrong], keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label", "--as", "regression")["models"]
    assert model["outcomes"] == {"answered": 5, "no_label_found": 13}
    rows = pq.read_table(tmp_path / "e" / "rows.parquet").to_pylist()
    errors = [dict(row["scores"]).get("absolute_error") for row in rows]
    assert errors == [0, 0, 1230, 1229.5, 0, *[None] * 13]


def test_numbers_whose_differences_are_too_large_have_no_figure_and_no_warning(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": text} for text in ("1e308", "-1e308") * 10])
    for name in ("one", "two"):
        write_scores(tmp_path / name, source, ["-1e308", "1e308"] * 10, keep=["label"])
    words = (tmp_path / "one", tmp_path / "two", "--label", "label", "--as", "regression")
    (one, _) = measured(tmp_path / "e", *words)["models"]
    assert one["metrics"]["mean_absolute_error"]["value"] is None
    assert one["metrics"]["spearman_correlation"]["value"] == -1


@pytest.mark.parametrize(
    ("numbers", "notice", "without"),
    [
        ([1.5**n for n in range(20)], "along a curve", set()),
        ([0.0] * 17 + [3, 1, 2], "", {"pearson_correlation", "r2_score"}),
        ([float(n % 7) for n in range(19)] + [60], "A twentieth of the rows makes up", set()),
        ([float(n) for n in range(20)], "", set()),
    ],
)
def test_a_correlation_that_few_rows_decide(
    tmp_path: Path, numbers: Sequence[float], notice: str, without: set[str]
) -> None:
    """A notice names a curve; there is no interval if fewer than four labels differ from the others."""
    source = write_input(tmp_path / "in.csv", [{"label": str(number)} for number in numbers])
    curved = notice == "along a curve"
    answers = [n * 7 % 5 + (n if curved else number) for n, number in enumerate(numbers)]
    scores = write_scores(tmp_path / "s", source, [*map(str, answers)], keep=["label"])
    (model,) = measured(tmp_path / "e", scores, "--label", "label", "--as", "regression")["models"]
    correlations = {name: each for name, each in model["metrics"].items() if "error" not in name}
    assert {name for name, each in correlations.items() if each["low"] is None} == without
    assert [notice in each for each in model["notices"]] == [True] * bool(notice)


def test_an_error_of_answered_rows_alone_needs_all_answers(tmp_path: Path) -> None:
    """Otherwise a model that answers only what is easy would be good enough."""
    source = write_input(tmp_path / "in.csv", [{"label": str(place)} for place in range(4)])
    scores = write_scores(tmp_path / "s", source, ["0", FAILED, FAILED, FAILED], keep=["label"])
    words = (scores, "--label", "label", "--as", "regression", "-o", tmp_path / "e")
    for more, code in (((), 6), (("--require", "coverage>=20%"), 0)):
        done = run(*words, "--require", "mean_absolute_error<=1", *more)
        assert done.exit_code == code, done.stdout
        assert ("coverage>=100%" in done.stdout) == (code == 6)


@pytest.mark.parametrize(
    ("rule", "failed", "more", "code"),
    [
        pytest.param("accuracy>=baseline-0.1", 0, (), 0, marks=pytest.mark.slow),
        ("accuracy>=baseline-0.1", 1, (), 6),  # the baseline is worse because its rows failed
        pytest.param("accuracy>=baseline-0.1", 1, ("--require", "coverage>=80%"), 0, marks=pytest.mark.slow),
        ("coverage>=baseline", 1, (), 6),
        pytest.param("accuracy>=0.8", 1, ("--unanswered", "exclude"), 6, marks=pytest.mark.slow),
        pytest.param("accuracy>=0.8", 0, ("--unanswered", "exclude"), 0, marks=pytest.mark.slow),
        ("accuracy<=0.99", 1, (), 6),
        pytest.param("accuracy<=0.99", 0, (), 0, marks=pytest.mark.slow),
    ],
)
def test_no_failed_row_makes_a_requirement_met(
    tmp_path: Path, source: Path, rule: str, failed: int, more: Sequence[str], code: int
) -> None:
    answers = [*LABELS[:-1], "pos"]
    failing = [*[FAILED] * failed, *answers[failed:]]
    one = write_scores(tmp_path / "one", source, failing, keep=["label"])
    two = write_scores(tmp_path / "two", source, answers, keep=["label"])
    done = run(one, two, "--label", "label", "--require", rule, *more, "-o", tmp_path / "e")
    assert done.exit_code == code, done.stdout
    assert ("NOT MET: coverage>=100%" in done.stdout) == (code == 6)


def test_the_best_error_is_the_smallest(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": str(place)} for place in range(4)])
    good = write_scores(tmp_path / "good", source, ["0", "1", "2", "3.5"], keep=["label"])
    bad = write_scores(tmp_path / "bad", source, ["9", "9", "9", "9"], keep=["label"])
    run(bad, good, "--names", "bad,good", "--label", "label", "--as", "regression", "-o", tmp_path / "e")
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8")
    assert "<h1>mean_absolute_error 0.1250 at best: good</h1>" in page


@pytest.mark.parametrize("label", ["2,25", "2_250", "inf", "1e999"])
def test_labels_that_are_no_numbers_are_refused(tmp_path: Path, label: str) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": "3.5"}, {"label": label}])
    scores = write_scores(tmp_path / "s", source, ["3.5", "2.25"], keep=["label"])
    done = run(scores, "--label", "label", "--as", "regression", "-o", tmp_path / "e", error=InputError)
    assert "row 1: its label is not a number. Write decimals with a point" in str(done.exception)


def test_a_slice_names_its_value_and_its_metric(tmp_path: Path) -> None:
    """Two columns may have the same values, and a program must tell all slices apart."""
    rows = [{"label": "pos", "one": "a", "two": "a"}, {"label": "neg", "one": "b", "two": ""}] * 2
    source = write_input(tmp_path / "in.csv", rows)
    scores = write_scores(tmp_path / "s", source, ["pos", "pos", "pos", "neg"], keep=["label", "one", "two"])
    words = (scores, "--label", "label", "--by", "one", "--by", "two")
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert [(each["column"], each["of"], each["metric"], each["value"]) for each in model["slices"]] == [
        ("one", "a", "accuracy", 1),
        ("one", "b", "accuracy", 0.5),
        ("two", "", "accuracy", 0.5),
        ("two", "a", "accuracy", 1),
    ]


def test_rows_by_their_id(tmp_path: Path, source: Path) -> None:
    """Records hold it under its own name, so no input is needed."""
    scores = write_scores(tmp_path / "s", source, LABELS, keep=["label"], id_column="id")
    words = (scores, "--label", "label", "--by", "id", "--show", "id", "--cluster", "id")
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert [each["of"] for each in model["slices"]] == sorted(row["id"] for row in ROWS)


def record_run(scores: Path, requests: int, tokens: int | None, **settings: Any) -> None:
    """Write the record of a run; without `tokens` it was killed."""
    sent = {"requests": requests, "tokens_billed": tokens, "prompt_tokens": tokens, "completion_tokens": 0}
    number = len([*(scores / "runs").glob("*")])
    record: dict[str, Any] = {"started": f"2026-01-0{number + 1}T00:00:00Z", "exit_code": None}
    record["settings"] = {"task": "chat", "price_in": 1, "price_out": 1, **settings}
    record |= {} if tokens is None else {"exit_code": 0, "this_run": sent}
    (scores / "runs").mkdir(exist_ok=True)
    (scores / "runs" / f"2026010{number + 1}T000000Z.json").write_text(json.dumps(record), "utf-8")


@pytest.mark.parametrize(
    ("runs", "billed", "money"),
    [
        ([], 40, None),
        ([40], 40, 40e-6),
        ([300, 40], 340, 340e-6),  # the first run scored rows that the second has replaced
        ([None, 10], 40, None),  # the manifests know more than a run that was killed
    ],
)
def test_what_a_right_answer_cost(
    tmp_path: Path, source: Path, runs: Sequence[int | None], billed: int, money: float | None
) -> None:
    """Of an unfinished output: rows that were never sent cost nothing. Three of the four are right."""
    scores = write_scores(tmp_path / "s", source, [*ANSWERS[:4], *([...] * 6)], keep=["label"])
    for tokens in runs:
        record_run(scores, 4, tokens)
    words = (scores, "--label", "label", "--base-dir", source.parent)
    (model,) = measured(tmp_path / "e", *words)["models"]
    cost = model["cost"]
    assert (cost["rows"], cost["evaluated"], cost["right"]) == (4, 4, 3)
    assert (cost["tokens_billed"], cost["tokens_each_right"]) == (billed, pytest.approx(billed / 3))
    assert (cost["money"], cost["money_each_right"]) == (
        pytest.approx(money),
        None if money is None else pytest.approx(money / 3),
    )
    shown = run(*words, "-o", tmp_path / "e", "--resamples", "20").stdout
    assert f"tokens billed: {billed}; for each right answer {billed / 3:.0f}" in shown


def test_what_a_right_answer_cost_if_some_rows_have_labels(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, LABELS, keep=["label"], id_column="id")
    gold = write_input(tmp_path / "gold.csv", ROWS[:6])
    words = (scores, "--labels", gold, "--label", "label", "--on", "id", "-o", tmp_path / "e")
    assert "tokens billed: 100; for each right answer 10 (by 6 labelled of 10 rows)" in run(*words).stdout


@pytest.mark.parametrize(
    ("rows", "models", "words"),
    [
        (10, 1, "too few rows to show a difference between two models of which only one is right in 10% of"),
        (70, 1, "too few rows to show a difference between two models of which"),
        (120, 1, "differences of about 7.8 points between two models if only one of them is right in 10% of"),
        (5, 2, "too few rows to show a difference between two models."),
        (120, 2, "differences of about 6.1 points between these models."),
    ],
)
def test_which_difference_the_rows_can_show(tmp_path: Path, rows: int, models: int, words: str) -> None:
    """It is never more than the share of the rows on which models differ."""
    source = write_input(tmp_path / "in.csv", [{"label": "ab"[place % 2]} for place in range(rows)])
    scores = write_scores(tmp_path / "s", source, ["a"] * rows, keep=["label"])
    names = ["--names", "a,b"] if models == 2 else []
    asked = (*[scores] * models, "--label", "label", *names, "-o", tmp_path / "e", "--resamples", "20")
    assert f"This set {'has' if 'too few' in words else 'can show'} {words}" in run(*asked).stdout
    found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["detectable_difference"]
    assert (found is None) == ("too few" in words)
    assert words in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


def test_figures_that_are_not_known_of_slices_and_requirements(tmp_path: Path) -> None:
    """A row failed, so the figure of all rows is not known, here and there: that of the answered is shown."""
    source = write_input(tmp_path / "in.csv", [{"label": str(n), "by": "ab"[n % 2]} for n in range(8)])
    answers = ["1", "1", "2", "3", FAILED, "5", "6", "7"]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label", "by"])
    words = (scores, "--label", "label", "--as", "regression", "--by", "by", "-o", tmp_path / "e")
    done = run(*words, "--require", "mean_absolute_error<=10")
    assert "  by = a: not known (of the answered 0.3333 (3)), 4 rows" in done.stdout
    assert "  by = b: 0.0000 (no interval), 4 rows" in done.stdout
    assert "NOT MET: mean_absolute_error<=10 (s: not known)" in done.stdout.replace(str(tmp_path / "s"), "s")
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8")
    assert "mean_absolute_error&lt;=10: " in page
    assert ": not known" in page


def test_requirements_of_percentages(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, [*LABELS[:8], FAILED, FAILED], keep=["label"])
    words = (scores, "--label", "label", "--names", "mini", "-o", tmp_path / "e")
    done = run(*words, "--require", "accuracy>=75%", "--require", "accuracy<=0.99")
    assert "met: accuracy>=75% (mini: 80.00% on 10 rows)" in done.stdout
    assert "met: accuracy<=0.99 (mini: 0.8000 on 10 rows)" in done.stdout
    assert (
        "NOT MET: coverage>=100% (mini: 80.00% on 10 rows); added, since failed rows could meet the others"
        in done.stdout
    )
    found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))
    assert [each["requirement"] for each in found["requirements"]][-1] == "coverage>=100%"
    assert measured(tmp_path / "e", scores, "--label", "label")["good_enough"] is None


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            ["Money", "Parcel"],
            "No answer names one of the labels: 'neg', 'pos'. Is this the column of the labels?",
        ),
        ([FAILED, FAILED], "No row has an answer, so the figures say nothing about the model."),
        (["Money", "pos"], None),
    ],
)
def test_no_answer_at_all(tmp_path: Path, answers: Sequence[Any], words: str | None) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": "pos"}, {"label": "neg"}] * 2)
    scores = write_scores(tmp_path / "s", source, list(answers) * 2, keep=["label"])
    asked = (scores, "--label", "label", "--as", "classification", "-o", tmp_path / "e")
    shown = run(*asked).stdout
    assert (words or "") in shown
    assert ("No " in shown) == (words is not None)


def test_ids_of_which_none_fits_are_shown(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"id": "t000"}])
    scores = write_scores(tmp_path / "s", source, ["yes"], id_column="id")
    gold = write_input(tmp_path / "gold.csv", [{"id": "x", "label": "yes"}])
    done = run(scores, "--labels", gold, "--on", "id", "-o", tmp_path / "e", error=InputError)
    assert "A row has the id 't000', a label has 'x'." in str(done.exception)


def test_many_slices_are_not_all_shown(tmp_path: Path, source: Path) -> None:
    rows = [{"label": "ab"[n % 2], "key": str(n)} for n in range(33)]
    source = write_input(tmp_path / "in.csv", rows)
    scores = write_scores(tmp_path / "s", source, ["a"] * 33, keep=["label", "key"])
    shown = run(scores, "--label", "label", "--by", "key", "-o", tmp_path / "e", "--resamples", "20").stdout
    assert "3 other values are in metrics.json" in shown


def test_texts_and_vectors_are_not_compared(tmp_path: Path, source: Path) -> None:
    texts = write_scores(tmp_path / "texts", source, LABELS, keep=["label"])
    vectors = write_vectors(tmp_path / "v", ROWS, [np.ones(2, np.float32)] * 10, keep=["label"])
    done = run(texts, vectors, "--label", "label", "-o", tmp_path / "e", error=UsageError)
    assert "they cannot be compared" in str(done.exception)


def test_an_evaluation_is_not_written_into_a_file(tmp_path: Path, source: Path) -> None:
    scores = write_scores(tmp_path / "s", source, LABELS, keep=["label"])
    done = run(scores, "--label", "label", "-o", source, error=OutputError)
    assert "is a file. Choose a folder" in str(done.exception)


def test_labels_in_a_file_of_another_encoding(tmp_path: Path) -> None:
    """The message names an option that this command has."""
    names = ["für", "wider"] * 5
    source = write_input(tmp_path / "in" / "a.csv", [{"Nr": f"r{n}"} for n in range(10)])
    out = write_scores(tmp_path / "out", source, names, id_column="Nr")
    gold = tmp_path / "gold.csv"
    lines = ["Nr|stance", *(f"r{n}|{name}" for n, name in enumerate(names))]
    gold.write_bytes("\r\n".join(lines).encode("cp1252"))
    words = (out, "--labels", gold, "--on", "Nr", "--label", "stance", "-o", tmp_path / "e")
    with pytest.raises(InputError, match='encoding="windows-1252"'):
        run(*words)
    done = run(*words, "--encoding", "windows-1252", "--delimiter", "|")
    assert "accuracy              1.0000" in done.stdout


def test_an_output_whose_run_was_stopped_before_a_file_was_complete_names_the_way_out(tmp_path: Path) -> None:
    part = tmp_path / "out" / "chat" / "part-a-00000000-00000.jsonl"
    part.parent.mkdir(parents=True)
    part.write_text('{"file":"a.csv","row":0,"chat":"x","finish_reason":"stop"}\n')
    with pytest.raises(InputError, match="run the same score command again first"):
        open_scores(part.parent.parent)


def test_an_output_that_is_not_complete_is_named_with_the_next_step(tmp_path: Path) -> None:
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in "aabb"])
    scores = write_scores(tmp_path / "s", source, ["a", "a", "b", ...], keep=["label"])
    words = ("--label", "label", "--base-dir", tmp_path, "-o", tmp_path / "e")
    done = run(scores, *words)
    assert done.exit_code == 0
    assert (
        f"{scores} is not complete: 1 labelled row not scored yet. Run the same score command" in done.stderr
    )
    assert "is not complete" not in done.stdout
    assert run(scores, *words, "--require", "coverage>=100%").exit_code == 6


@pytest.mark.parametrize(
    ("words", "task", "problem"),
    [
        (("--require", "accuracy>=0.5"), "text-classification", ""),
        (("--metric", "cohen_kappa"), "text-classification", ""),
        (("--labels", "a,b,c"), "text-classification", ""),
        (("--as", "Question_Answering"), "question-answering", ""),
        (("--as", "QA"), "question-answering", ""),
        (("--metric", "bleu"), "", "If these are classes, add --as text-classification."),
        (("--as", "qa", "--pattern", "a"), "", "--pattern has no effect on question-answering"),
        (("--pattern", "a|b"), "", "--pattern has no effect on question-answering"),
        (("--as", "regression", "--labels", "1,2"), "", "--labels has no effect on regression"),
        (("--labels", "gold.csv"), "", "gold.csv does not exist."),
        (("--map", "nothing.json"), "", "nothing.json does not exist."),
    ],
)
def test_options_say_which_task_is_meant(
    tmp_path: Path, words: Sequence[str], task: str, problem: str
) -> None:
    """Labels that occur once may be answers to questions; an option for classes says that they are not."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "a"}, {"label": "b"}])
    scores = write_scores(tmp_path / "s", source, ["a", "b"], keep=["label"])
    asked = (scores, "--label", "label", *words)
    if not problem:
        assert measured(tmp_path / "e", *asked)["task"] == task
        return
    done = run(*asked, "-o", tmp_path / "e", error=BatchscoreError)
    assert problem in str(done.exception)
    assert not (tmp_path / "e").exists()


def test_answers_with_fields_are_not_compared_unseen(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "Rome"}, {"label": "Oslo"}])
    scores = write_scores(
        tmp_path / "s", source, ['{"city": "Rome"}', '```json\n{"city": "Bonn"}\n```'], keep=["label"]
    )
    asked = (scores, "--label", "label", "--as", "question-answering")
    (model,) = measured(tmp_path / "e", *asked)["models"]
    assert "Name the field that is the answer with --field. Their fields are: city." in model["notices"][0]
    (model,) = measured(tmp_path / "e", *asked, "--field", "city")["models"]
    assert (model["notices"], model["metrics"]["exact_match"]["value"]) == ([], 0.5)


@pytest.mark.parametrize(
    "gold",
    [
        '{"text": ["a"], "answer_start": [1]}, {"text": ["b"], "answer_start": [2]}',
        "{answer_start",
        "{'text': array(['a'], dtype=object), 'answer_start': array([1])}",
    ],
)
def test_labels_that_only_look_like_those_of_squad_stay_texts(gold: str) -> None:
    assert answer_of(gold) == gold


def test_figures_that_are_not_defined_do_not_differ(tmp_path: Path) -> None:
    """Labels that are all equal explain nothing, and no number says that."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "5"}] * 4)
    answers = {"s1": ["1", "2", "3", "4"], "s2": ["1", "2", "3", "9"]}
    both = [write_scores(tmp_path / name, source, found, keep=["label"]) for name, found in answers.items()]
    done = run(*both, "--label", "label", "--as", "regression", "-o", tmp_path / "e")
    assert "r2_score" in done.stdout
    assert "nan" not in done.stdout
    found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["models"][1]["comparisons"]
    assert found["r2_score"] is None
    assert found["mean_absolute_error"]["difference"] == 0.75


def test_brackets_around_a_word_are_no_list() -> None:
    task, unsure = guess_task(["[POS]", "[NEG]", "[POS]", "[NEG]"])
    assert (task.name, unsure) == ("text-classification", "")


def test_right_answers_as_squad_has_them(tmp_path: Path) -> None:
    """In a table they are a text; in JSON Lines an object with the places in the context."""
    golds = ["{'text': ['Rome', 'Roma'], 'answer_start': [3, 9]}", '{"text": ["Oslo"], "answer_start": [1]}']
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in golds])
    scores = write_scores(tmp_path / "s", source, ["Roma", "Oslo"], keep=["label"])
    found = measured(tmp_path / "e", scores, "--label", "label")
    assert found["task"] == "question-answering"
    assert found["models"][0]["metrics"]["f1_score"]["value"] == 1


@pytest.mark.parametrize(("second", "words"), [("2", "is in gold.csv, row 1)"), ("", "without a label. ")])
def test_ids_that_fit_without_a_label_are_said(tmp_path: Path, second: str, words: str) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"id": "x"}])
    scores = write_scores(tmp_path / "s", source, ["1"], id_column="id")
    rows = [{"id": "x", "label": "1"}] if second else []
    gold = write_input(tmp_path / "gold.csv", [*rows, {"id": "x", "label": second}])
    done = run(scores, "--labels", gold, "--on", "id", "-o", tmp_path / "e", error=InputError)
    assert "ids of its rows are in" in str(done.exception)
    assert words in str(done.exception)


def test_a_label_that_no_row_has_is_said(tmp_path: Path) -> None:
    """Of eight labels that were named six are empty: five of them are shown."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in "abab"])
    scores = write_scores(tmp_path / "s", source, ["a", "b", "a", "c"], keep=["label"])
    found = measured(tmp_path / "e", scores, "--label", "label", "--labels", "a,b,c,d,e,f,g,h")
    (notice,) = found["notices"]
    assert notice.startswith(
        "No row has the label 'c', 'd', 'e', 'f', 'g', and 1 more. Means over labels leave"
    )
    macro = found["models"][0]["metrics"]["balanced_accuracy"]
    assert (macro["value"], macro["unanswered"]) == (0.75, "none")


def test_a_correlation_with_a_single_label_is_not_defined(tmp_path: Path) -> None:
    """Also of two models, and a requirement on it is not met."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "a"}] * 5)
    one, two = (
        write_scores(tmp_path / name, source, ["a", "a", "a", "a", last], keep=["label"])
        for name, last in (("one", "b"), ("two", "a"))
    )
    words = (one, two, "--label", "label", "--require", "matthews_correlation>=-0.5", "-o", tmp_path / "e")
    done = run(*words)
    assert done.exit_code == 6
    assert "NOT MET: matthews_correlation>=-0.5" in done.stdout
    assert re.search(r"matthews_correlation  not defined", done.stdout)
    for model in json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["models"]:
        correlation = model["metrics"]["matthews_correlation"]
        assert (correlation["value"], correlation["of_answered"], correlation["low"]) == (None, None, None)
        assert model["comparisons"].get("matthews_correlation") is None


def test_labels_that_are_all_empty_lists_have_no_other_task() -> None:
    assert guess_task([[], []]) == (EVALUATION_TASKS["question-answering"], "")


@pytest.mark.parametrize(
    ("labels", "more", "offered"),
    [
        (["low", "high"], (), False),
        (["1", "2"], (), True),
        (["low", "high"], ("--labels", "low,medium,high"), True),
    ],
)
def test_only_labels_with_an_order_have_a_quadratic_kappa(
    tmp_path: Path, labels: list[str], more: tuple[str, ...], *, offered: bool
) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in labels * 2])
    scores = write_scores(tmp_path / "s", source, labels * 2, keep=["label"])
    words = (scores, "--label", "label", *more, "-o", tmp_path / "e", "--metric")
    if offered:
        assert run(*words, "quadratic_kappa").exit_code == 0
        return
    refused = run(*words, "quadratic_kappa", error=UsageError)
    assert "Name all labels from the lowest to the highest, such as --labels low,medium,high" in str(
        refused.exception
    )
    assert "quadratic_kappa" not in str(run(*words, "kappa", error=UsageError).exception)


def test_figures_of_huge_numbers_can_be_read(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": "1e300"}, {"label": "2e300"}])
    scores = write_scores(tmp_path / "s", source, ["1e300", "1"], keep=["label"])
    shown = run(scores, "--label", "label", "--as", "regression", "-o", tmp_path / "e").stdout
    assert "mean_absolute_error      1.0000e+300" in shown
