"""Requirements: what no figure could miss or meet is refused in words, and what is met says on which rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchscore.errors import UsageError
from batchscore.evaluate.gates import requirement_of
from evaluated import run, write_input, write_scores


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
        ("accuracy>=90", "Is 'accuracy>=90%' meant?"),
        ("coverage>=-1", "is always met"),
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
        ("coverage>=0%", 0),
        ("rows_with_label>=0", 0),
        ("rows>=500", 500),
        ("bleu>=30", 30),
        ("f1_score_macro>=baseline - 0.01", -0.01),
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


@pytest.mark.parametrize(("limit", "is_cut"), [(100, False), (4, False), (3, True)])
def test_a_requirement_that_is_met_on_a_part_of_the_input_says_so(
    tmp_path: Path, limit: int, *, is_cut: bool
) -> None:
    """A limit beyond the last row leaves nothing out."""
    source = write_input(tmp_path / "in" / "a.csv", [{"label": each} for each in "abab"])
    answers = [*"aba", *([...] if is_cut else ["b"])]
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"], read=3 if is_cut else None)
    files = [{"file": "a.csv", "state": "not_started"}]
    record = {"settings": {"task": "chat", "limit": limit}, "files": files, "exit_code": None}
    (scores / "runs").mkdir()
    (scores / "runs" / "1.json").write_text(json.dumps(record))
    done = run(scores, "--label", "label", "--require", "accuracy>=0.9", "-o", tmp_path / "e")
    assert done.exit_code == 0
    assert ("; the run was limited to some rows" in done.stdout) == is_cut
    assert ("Its run was limited to some rows" in done.stdout) == is_cut
