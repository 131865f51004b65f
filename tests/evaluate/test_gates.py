"""Requirements: what no figure could miss or meet is refused in words, and what is met says on which rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batchscore.errors import ErrorCode, InputError, UsageError
from batchscore.evaluate.gates import requirement_of
from batchscore.rows import RowError
from evaluated import FAILED, measured, run, write_input, write_scores, write_vectors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy>=-1", "is always met: accuracy is from 0 to 1."),
        ("accuracy>=0", "is always met"),
        ("accuracy<=1", "is always met"),
        ("matthews_correlation>=-1", "is always met: matthews_correlation is from -1 to 1."),
        ("mean_absolute_error>=0", "is always met: mean_absolute_error is 0 or more."),
        ("rows>=0", "is always met"),
        ("f1_score_macro>=baseline-1", "the difference of two figures f1_score_macro is from -1 to 1"),
        ("accuracy>=1.5", "can never be met: accuracy is from 0 to 1. Is 'accuracy>=1.5%' meant?"),
        ("accuracy>1", "can never be met"),
        ("accuracy>=baseline+2", "the difference of two figures accuracy is from -1 to 1."),
        ("accuracy>=90", "Is 'accuracy>=90%' meant?"),
        ("coverage>=-1", "is always met"),
        ("coverage>=0%", "is always met: coverage is from 0 to 1. Write another number, or leave it out."),
        ("mean_absolute_error<0", "can never be met"),
        ("r2_score>1", "can never be met: r2_score is 1 or less."),
        ("bleu>=101", "can never be met: bleu is from 0 to 100."),
        ("rows>=50%", "Write 'rows>=50' or, for a share, 'rows_with_label>=50%'."),
        ("bleu>=30%", "bleu is no share of 1. Write 'bleu>=30'."),
        ("rows>=2.5", "rows is a number of rows."),
        ("coverage<=99%", "rows that fail would meet it"),
    ],
)
def test_what_every_figure_or_none_meets_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        requirement_of(text)
    assert words in str(caught.value)
    assert "baseline" not in text or "meant" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy", "no >= or <= follows accuracy. Write for example --require 'accuracy>=0.9', in quotes."),
        ("accuracy=0.9", "'=' is none of >=, >, <= and <."),
        ("accuracy≥0.9", "'≥' is none of"),
        ("accuracy=>0.9", "'=>' is none of"),
        ("accuracy>=", "no number follows >=."),
        ("accuracy>=nan", "'nan' is neither a number nor the baseline, such as 0.9, 90% or baseline-0.01."),
        ("accuracy>=0,9", "'0,9' is neither"),
        ("accuracy>=baseline*0.9", "'baseline*0.9' is neither"),
        (">=0.9", "it does not begin with the name of a metric."),
        ("", "it does not begin with the name of a metric."),
        ("bleu>=", "--require 'bleu>=30'"),
        ("rows", "--require 'rows>=500'"),
        ("mean_absolute_error", "--require 'mean_absolute_error<=0.5'"),
    ],
)
def test_a_text_that_is_no_requirement_says_why_and_what_works(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        requirement_of(text)
    assert words in str(caught.value)
    requirement_of(str(caught.value).partition("--require '")[2].partition("'")[0])


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("accuracy>=.9", 0.9),
        ("accuracy >= 90 %", 0.9),
        ("mean_absolute_error<=1e3", 1000),
        ("matthews_correlation>=-0.5", -0.5),
        ("coverage>=1%", 0.01),
        ("rows_with_label>=0", 0),
        ("rows>=500", 500),
        ("bleu>=30", 30),
        ("f1_score_macro>=baseline - 0.01", -0.01),
        ("f1_score_macro>=baseline -\u00a00.01", -0.01),
        ("f1_score_macro>=baseline\t-\t0.01", -0.01),
        ("accuracy>baseline", 0),
        ("f1-score>=0.5", 0.5),  # a metric that no task has is refused with the names of those that it has
    ],
)
def test_requirements_that_say_something(text: str, bound: float) -> None:
    assert requirement_of(text).bound == bound


def test_a_requirement_that_few_rows_meet_says_so(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in "abab"])
    scores = write_scores(tmp_path / "s", source, [*"abab"], keep=["label"])
    words = (scores, "--label", "label", "--names", "m", "-o", tmp_path / "e")
    done = run(*words, "--require", "accuracy>=0.9", "--require", "rows>=4", "--require", "coverage>=99%")
    assert done.exit_code == 0
    caveat = "the interval, 0.5101 to 1.0000, holds figures that do not meet it"
    assert f"met: accuracy>=0.9 (m: 1.0000 on 4 rows); {caveat}\n" in done.stdout
    assert "met: rows>=4 (m: 4)\n" in done.stdout
    assert "met: coverage>=99% (m: 100.00% on 4 rows)\n" in done.stdout
    found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))
    assert [each["caveat"] for each in found["requirements"]] == [caveat, "", ""]
    assert caveat in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


def test_a_difference_from_the_baseline_that_may_be_chance_says_so(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in "ab" * 10])
    one, two = (
        write_scores(tmp_path / name, source, [*first, *"ab" * 9], keep=["label"])
        for name, first in (("one", "ba"), ("two", "ab"))
    )
    done = run(one, two, "--label", "label", "--require", "accuracy>=baseline+0.05", "-o", tmp_path / "e")
    assert done.exit_code == 0
    assert "; the interval of the difference, -" in done.stdout


#: A figure that is not known over all rows, and one of the answered rows alone.
OF_ANSWERED = {
    "withheld": ("regression", "mean_absolute_error", "<=", ()),
    "excluded": ("classification", "accuracy", ">=", ("--unanswered", "exclude")),
}


@pytest.mark.parametrize(("task", "figure", "sign", "words"), OF_ANSWERED.values(), ids=OF_ANSWERED)
@pytest.mark.parametrize("baseline", [0, 1])
def test_a_difference_from_the_baseline_is_of_the_rows_that_both_answered(
    tmp_path: Path, task: str, figure: str, sign: str, words: Sequence[str], baseline: int
) -> None:
    """A model that failed on the hard rows, and is no better on any other, is not better."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": str(place)} for place in range(10)])
    right = [str(place) for place in range(10)]
    one, two = (
        write_scores(tmp_path / name, source, answers, keep=["label"])
        for name, answers in (("one", [*right[:7], *"000"]), ("two", ["1", *right[1:7], *[FAILED] * 3]))
    )
    asked = ("--label", "label", "--as", f"text-{task}" if task == "classification" else task, *words)
    done = run(
        *(one, two, *asked, "--baseline", str((one, two)[baseline]), "-o", tmp_path / "e"),
        *("--require", f"{figure}{sign}baseline", "--require", "coverage>=70%"),
    )
    (gate,) = (
        each
        for each in json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["requirements"]
        if each["metric"] == figure
    )
    values = {"mean_absolute_error": (0.0, 1 / 7), "accuracy": (1.0, 6 / 7)}[figure]
    assert gate["both_answered"] == 7
    assert [gate["bound"], gate["value"]] == pytest.approx(values if baseline == 0 else values[::-1])
    assert (gate["met"], done.exit_code) == ((False, 6) if baseline == 0 else (True, 0))
    assert " on 7 rows that both answered)" in done.stdout
    assert ("3 rows without an answer left out" in gate["caveat"]) == gate["met"]
    assert " on 7 rows that both answered" in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


def test_a_difference_on_no_row_meets_nothing(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": str(place)} for place in range(4)])
    one, two = (
        write_scores(tmp_path / name, source, answers, keep=["label"])
        for name, answers in (("one", [FAILED, FAILED, "2", "3"]), ("two", ["0", "1", FAILED, FAILED]))
    )
    rule = "mean_absolute_error<=baseline"
    words = ("--label", "label", "--as", "regression", "--require", rule, "--require", "coverage>=50%")
    done = run(one, two, *words, "-o", tmp_path / "e")
    assert done.exit_code == 6
    assert f"NOT MET: {rule} ({two}: not defined on 0 rows that both answered)" in done.stdout


def test_a_figure_that_leaves_out_rows_says_so(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in" / "a.csv", [{"label": str(place)} for place in range(10)])
    answers = [*[str(place) for place in range(6)], *[FAILED] * 4]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    words = (scores, "--label", "label", "--as", "regression", "--require", "coverage>=50%")
    done = run(*words, "--require", "mean_absolute_error<=0.2", "-o", tmp_path / "e")
    assert done.exit_code == 0
    assert "on 6 answered rows); 4 rows without an answer left out\n" in done.stdout


def record_limit(scores: Path, file: str, limit: int) -> None:
    """Write the record of a run that was to score the first rows of a file."""
    settings = {"task": next((scores / "manifest").iterdir()).name, "limit": limit}
    record = {"settings": settings, "files": [{"file": file, "state": "not_started"}], "exit_code": None}
    (scores / "runs").mkdir()
    (scores / "runs" / "1.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("limit", "is_cut"), [(100, False), (4, False), (3, True)])
def test_a_requirement_that_is_met_on_a_part_of_the_input_says_so(
    tmp_path: Path, limit: int, *, is_cut: bool
) -> None:
    """A limit beyond the last row leaves nothing out."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in "abab"])
    answers = [*"aba", *([...] if is_cut else ["b"])]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"], read=3 if is_cut else None)
    record_limit(scores, "a.csv", limit)
    done = run(scores, "--label", "label", "--require", "accuracy>=0.9", "-o", tmp_path / "e")
    assert done.exit_code == 0
    assert ("; the run was limited to some rows" in done.stdout) == is_cut
    assert ("Its run was limited to some rows" in done.stdout) == is_cut


#: What a task needs beside its rows, its main figure, and what its notice names.
OTHERS = {
    "--documents": ("ndcg_at_10", "document"),
    "--train": ("f1_score_macro", "training row"),
}


def vectors_of(
    tmp_path: Path, name: str, option: str, failed: Sequence[int], limit: int | None = None
) -> tuple[Path, Path]:
    """Give the scores of eight rows and those of `option`, half of which mislead; some of these failed.

    A document is relevant for the row of its number.
    """
    right = [*np.eye(8, 9, dtype=np.float32)]
    wrong = [np.float32(1) * np.roll(each, 1) + each / 2 for each in right]
    answers: list[Any] = [each / 2 + np.eye(1, 9, 8, dtype=np.float32)[0] / 2 for each in right] + wrong
    for place in failed:
        answers[place] = FAILED
    if limit is not None:
        answers[limit:] = [...] * (16 - limit)
    ids = [{"id": f"{option[2]}{place}", "label": "ab"[place % 2]} for place in range(16)]
    more: Mapping[str, Any] = {"id_column": "id", "keep": ["label"], "read": None if limit == 16 else limit}
    others = write_vectors(tmp_path / f"{name}-o", ids, answers, **more)
    if limit is not None:
        record_limit(others, "in.csv", limit)
    rows = write_vectors(
        tmp_path / name,
        [{"id": f"q{n}", "label": "ab"[n % 2]} for n in range(8)],
        right,
        id_column="id",
        keep=["label"],
    )
    return rows, others


def words_of(tmp_path: Path, option: str) -> Sequence[str | Path]:
    if option == "--train":
        return ("--as", "knn", "--label", "label")
    qrels = tmp_path / "qrels.csv"
    qrels.write_text("qid,doc_id\n" + "".join(f"q{place},d{place}\n" for place in range(8)), "utf-8")
    return ("--qrels", qrels)


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize(
    "failed",
    [
        range(8, 16),
        pytest.param([9], marks=pytest.mark.slow),
        pytest.param([0, 3, 12], marks=pytest.mark.slow),
        pytest.param([1, 2], marks=pytest.mark.slow),
    ],
)
def test_a_figure_without_some_vectors_of_others_meets_nothing(
    tmp_path: Path, option: str, failed: Sequence[int]
) -> None:
    """Without them the rows may find the right ones more easily, and each row has an answer all the same."""
    figure, what = OTHERS[option]
    words = words_of(tmp_path, option)
    whole, all_others = vectors_of(tmp_path, "whole", option, ())
    rows, others = vectors_of(tmp_path, "lacking", option, failed)
    out = tmp_path / "e"
    for more in (("--require", "coverage>=99%"), ("--unanswered", "exclude"), ()):
        done = run(
            rows, option, others, *words, "--require", f"{figure}>=0.001", *more, "--by", "id", "-o", out
        )
        assert done.exit_code == 6, done.stdout
        reason = f"{len(failed)} {what}{'s'[: len(failed) - 1]}"
        assert f"NOT MET: {figure}>=0.001 ({rows}: not known); {reason} without a vector; run " in done.stdout
        found = json.loads((out / "metrics.json").read_text("utf-8"))
        (model,) = found["models"]
        for each in (*model["metrics"].values(), *model["slices"]):
            assert (each["value"], each["of_answered"]) == (None, None)
        assert (model["per_class"], model["confusion_matrix"]) == (None, None)
        assert "not known (8)" in done.stdout
        assert "of the 8 answered" not in (out / "evaluation.html").read_text("utf-8")
        assert model["cost"]["tokens_each_right"] is None
        assert "no answer is the worst" not in done.stdout
        assert any("without a vector" in each and "--retry-errors" in each for each in model["notices"])
        assert any(
            "must leave the input, and that command then needs --incremental" in each
            for each in model["notices"]
        )
    for pair in ((whole, rows), (rows, whole)):
        second = [all_others, others] if pair[0] == whole else [others, all_others]
        both = (*pair, option, second[0], option, second[1], *words)
        done = run(*both, "--require", f"{figure}>=baseline-0.9", "--require", "coverage>=99%", "-o", out)
        assert done.exit_code == 6, done.stdout
        assert reason in done.stdout.rpartition("NOT MET: ")[2]
        found = json.loads((out / "metrics.json").read_text("utf-8"))
        assert {*found["models"][1]["comparisons"].values()} == {None}
        assert not any("no test fits" in each for each in found["notices"])
        assert "  against " not in done.stdout
        page = (out / "evaluation.html").read_text("utf-8")
        assert " is better than " not in page
        assert " is worse than " not in page
        assert page.count('"type":"line"') <= 2  # the chart and the series of the other output
    done = run(whole, option, all_others, *words, "--require", f"{figure}>=0.001", "-o", out)
    assert done.exit_code == 0, done.stdout


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize(("limit", "is_cut"), [(8, True), (16, False)])
def test_a_figure_without_the_vectors_beyond_a_limit_meets_nothing(
    tmp_path: Path, option: str, limit: int, *, is_cut: bool
) -> None:
    figure, what = OTHERS[option]
    rows, others = vectors_of(tmp_path, "s", option, (), limit)
    done = run(
        *(rows, option, others, *words_of(tmp_path, option), "-o", tmp_path / "e"),
        *("--require", f"{figure}>=0.001", "--require", "coverage>=99%"),
    )
    reason = f"he {what}s were scored with --limit; score all of them"
    assert (done.exit_code, f"not known); t{reason}" in done.stdout) == ((6, True) if is_cut else (0, False))
    (model,) = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["models"]
    assert any(each.startswith(f"T{reason}. ") for each in model["notices"]) == is_cut
    assert ({each["value"] for each in model["metrics"].values()} == {None}) == is_cut
    assert model["join"]["others_limited"] == is_cut


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize("code", [ErrorCode.UNREADABLE_ROW, ErrorCode.ROW_TOO_LARGE])
@pytest.mark.parametrize("id_column", ["id", None])
def test_a_row_of_others_that_cannot_be_read_has_no_vector(
    tmp_path: Path, option: str, code: ErrorCode, id_column: str | None
) -> None:
    """It may have been any document, or a row with a label."""
    rows, _ = vectors_of(tmp_path, "s", option, ())
    ids = [{"id": f"d{place}", "label": "ab"[place % 2]} for place in range(8)]
    answers = [*np.eye(8, 9, dtype=np.float32), RowError(code, "no")]
    lines = [*ids, {"id": "", "label": ""}]
    others = write_vectors(tmp_path / "o", lines, answers, id_column=id_column, keep=["label"])
    words = (rows, option, others, *words_of(tmp_path, option), "-o", tmp_path / "e")
    if option == "--documents" and id_column is None:
        assert "its rows have no ids. Score the documents with id." in str(
            run(*words, error=InputError).exception
        )
        return
    done = run(*words, "--require", f"{OTHERS[option][0]}>=0.001")
    assert f"not known); 1 {OTHERS[option][1]} without a vector" in done.stdout


def test_a_row_without_a_label_teaches_nothing_and_is_not_missing(tmp_path: Path) -> None:
    rows, _ = vectors_of(tmp_path, "s", "--train", ())
    lines = [{"id": f"t{place}", "label": label} for place, label in enumerate(("a", "b", ""))]
    answers = [*np.eye(2, 9, dtype=np.float32), FAILED]
    others = write_vectors(tmp_path / "o", lines, answers, id_column="id", keep=["label"])
    words = (rows, "--train", others, *words_of(tmp_path, "--train"))
    (model,) = measured(tmp_path / "e", *words)["models"]
    assert model["join"]["others_without_vector"] == 0


def test_a_document_without_an_id_is_named(tmp_path: Path) -> None:
    rows, _ = vectors_of(tmp_path, "s", "--documents", ())
    others = write_vectors(
        tmp_path / "o", [{"id": "d0"}, {"id": ""}], [*np.eye(2, 9, dtype=np.float32)], id_column="id"
    )
    words = (rows, "--documents", others, *words_of(tmp_path, "--documents"), "-o", tmp_path / "e")
    found = str(run(*words, error=InputError).exception)
    assert found.endswith(
        "in.csv, row 1, has no id. Give each document one, and score the documents with id."
    )


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("failed", [(3,), pytest.param((0, 1), marks=pytest.mark.slow)])
def test_a_pair_without_one_vector_has_no_answer(tmp_path: Path, side: int, failed: Sequence[int]) -> None:
    """Whichever vector it is: the coverage counts pairs."""
    angles = [0.1, 0.5, 1.0, 0.2, 1.4]
    sides: list[list[Any]] = [
        [np.array([1, 0], np.float32)] * 5,
        [np.array([np.cos(each), np.sin(each)], np.float32) for each in angles],
    ]
    for place in failed:
        sides[side][place] = FAILED
    source = write_input(tmp_path / "a.csv", [{"score": each} for each in "54310"])
    one, two = (
        write_scores(tmp_path / str(place), source, each, keep=["score"], task="embeddings")
        for place, each in enumerate(sides)
    )
    for more in ((), ("--require", "coverage>=99%"), ("--unanswered", "exclude")):
        done = run(
            one,
            "--pair",
            two,
            "--label",
            "score",
            "--require",
            "cosine_spearman>=0.1",
            *more,
            "-o",
            tmp_path / "e",
        )
        assert done.exit_code == 6, done.stdout
        assert f"{100 - 20 * len(failed):.2f}% on 5 rows" in done.stdout.rpartition("NOT MET: coverage>=")[2]
    assert (
        measured(tmp_path / "e", one, "--pair", two, "--label", "score")["models"][0]["metrics"][
            "cosine_spearman"
        ]["value"]
        is None
    )


def test_the_coverage_that_is_offered_fits_all_outputs(tmp_path: Path) -> None:
    """It is offered once, and works as it is."""
    source = write_input(tmp_path / "in.csv", [{"label": str(place)} for place in range(20)])
    answers = [str(place) for place in range(20)]
    one, two = (
        write_scores(tmp_path / name, source, [*[FAILED] * count, *answers[count:]], keep=["label"])
        for name, count in (("one", 3), ("two", 6))
    )
    words = (one, two, "--label", "label", "--as", "regression", "--require", "mean_absolute_error<=1")
    done = run(*words, "-o", tmp_path / "e")
    assert done.exit_code == 6
    assert done.stdout.count("NOT MET: coverage>=100%") == 2
    (offer,) = (each.partition("'")[0] for each in done.stdout.split("--require '")[1:])
    assert offer == "coverage>=70%"
    done = run(*words, "--require", offer, "-o", tmp_path / "e")
    assert done.exit_code == 0
    assert "on 17 answered rows" in done.stdout


def test_no_coverage_is_offered_if_no_row_has_an_answer(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": str(place)} for place in range(3)])
    scores = write_scores(tmp_path / "s", source, [FAILED] * 3, keep=["label"])
    words = (scores, "--label", "label", "--as", "regression", "--require", "mean_absolute_error<=1")
    done = run(*words, "-o", tmp_path / "e")
    assert "NOT MET: coverage>=100%" in done.stdout
    assert "--require '" not in done.stdout


def test_failed_rows_that_other_outputs_have_not_count_in_the_coverage(tmp_path: Path) -> None:
    """Left out with the other rows, they could make every requirement met."""
    labels = [{"label": each} for each in "ab" * 5]
    source = write_input(tmp_path / "one" / "a.csv", labels)
    few = write_input(tmp_path / "few" / "a.csv", labels[:3])
    one = write_scores(tmp_path / "o", source, [*"aba", *[FAILED] * 7], keep=["label"])
    two = write_scores(tmp_path / "t", few, [*"aba"], keep=["label"])
    words = ("--label", "label", "--names", "one,two", "-o", tmp_path / "e", "--require", "accuracy>=0.9")
    for more, offer in ((("--require", "coverage>=99%"), ""), ((), "coverage>=30%")):
        done = run(one, two, *words, *more)
        assert done.exit_code == 6
        (missed,) = (line for line in done.stdout.splitlines() if line.startswith("NOT MET: "))
        assert "(one: 30.00% on 10 rows)" in missed
        assert offer in missed
        assert "one: coverage 30.0%\n" in done.stdout
        found = json.loads((tmp_path / "e" / "metrics.json").read_text("utf-8"))["models"]
        assert [each["coverage"] for each in found] == [0.3, 1]
        assert [each["join"]["failed_not_in_other_outputs"] for each in found] == [7, 0]
    done = run(one, two, *words, "--require", "coverage>=30%")
    assert done.exit_code == 0
    assert done.stdout.count("; 7 rows without an answer left out, since other outputs") == 2


def test_a_failed_row_that_has_no_label_to_use_is_named(tmp_path: Path) -> None:
    """Its labels differ, or it cannot be read: no figure and no coverage counts it."""
    rows = [{"id": str(place), "label": "ab"[place % 2]} for place in range(6)]
    source = write_input(tmp_path / "a.csv", rows)
    gold = write_input(tmp_path / "gold.csv", [*rows, {"id": "5", "label": "a"}])
    words = ("-o", tmp_path / "e", "--require", "accuracy>=0.4", "--require", "coverage>=99%")
    for last, times in ((FAILED, 2), ("b", 0)):
        scores = write_scores(tmp_path / f"s{times}", source, [*"ababa", last], id_column="id")
        done = run(scores, "--labels", gold, "--on", "id", "--label", "label", *words)
        assert done.exit_code == 0
        assert done.stdout.count("; 1 failed row left out, since labels differ") == times
    lacking = write_input(tmp_path / "b.csv", [{"label": each} for each in ["a", "b", "a", "", ""]])
    broken = RowError(ErrorCode.UNREADABLE_ROW, "too many cells")
    scores = write_scores(tmp_path / "s", lacking, [*"aba", broken, FAILED], keep=["label"])
    done = run(scores, "--label", "label", *words)
    assert done.exit_code == 0
    assert done.stdout.count("; 1 failed row left out, since labels differ") == 2


@pytest.mark.parametrize("failed", [0, 1])
def test_each_of_two_rows_with_one_id_has_its_own_partner(tmp_path: Path, failed: int) -> None:
    """The first with the first, so the vector of another row never takes the place of a failed one."""
    ids = [{"id": each} for each in "aabc"]
    vectors: list[Any] = [*np.eye(4, dtype=np.float32)]
    gold = write_input(tmp_path / "gold.csv", [{"id": each, "score": n} for n, each in enumerate("abc")])
    one = write_vectors(tmp_path / "one", ids, vectors, id_column="id")
    words = ("--labels", gold, "--on", "id", "--label", "score")
    vectors[failed] = FAILED
    two = write_vectors(tmp_path / "two", ids, vectors, id_column="id")
    (model,) = measured(tmp_path / "e", one, "--pair", two, *words)["models"]
    assert model["outcomes"] == {"answered": 3, "error:timeout": 1}
    rows = pq.read_table(tmp_path / "e" / "rows.parquet").to_pylist()
    assert [row["outcome"] == "answered" for row in rows] == [place != failed for place in range(4)]
    assert [float(row["answer"]) for row in rows if row["answer"]] == [1, 1, 1]
    single = write_vectors(tmp_path / "three", ids[1:], [*np.eye(4, dtype=np.float32)][1:], id_column="id")
    (model,) = measured(tmp_path / "e", one, "--pair", single, *words)["models"]
    assert model["outcomes"] == {"answered": 4}
