"""Duplicate prompts are sent once, and each row gets the answer."""

from __future__ import annotations

from dataclasses import replace

from batchscore.errors import ErrorCode
from batchscore.prompts.duplicates import REMEMBERED, Duplicates
from batchscore.rows import Prompt, RowError, Score, Settled


def prompt(row: int, text: str) -> Prompt:
    return Prompt("f", row, b'"%s"' % text.encode(), id=str(row))


def resolved(duplicates: Duplicates, asked: Prompt, result: Score | RowError) -> dict[int, object]:
    settled = [Settled(asked.file, asked.row, result, asked.id, asked.kept, asked.truncated)]
    duplicates.resolve([asked], settled)
    return {row.row: row.result for row in settled}


def test_duplicates_get_the_answer_of_the_first_also_later() -> None:
    duplicates, known = Duplicates(), []
    assert [duplicates.add(prompt(row, "same"), known) for row in range(3)] == [False, True, True]
    assert not known
    score = Score("answer")
    assert resolved(duplicates, prompt(0, "same"), score) == {0: score, 1: score, 2: score}
    assert duplicates.add(prompt(3, "same"), known)
    assert [(row.row, row.result, row.id) for row in known] == [(3, score, "3")]
    assert duplicates.waiting == 0


def test_an_error_is_shared_with_waiting_duplicates_and_not_remembered() -> None:
    duplicates = Duplicates()
    for row in range(2):
        duplicates.add(prompt(row, "bad"), [])
    error = RowError(ErrorCode.CONTENT_FILTER, "no")
    assert resolved(duplicates, prompt(0, "bad"), error) == {0: error, 1: error}
    assert not duplicates.add(prompt(2, "bad"), []), "it is sent again"


def test_duplicates_of_a_truncated_prompt_get_its_answer() -> None:
    duplicates = Duplicates()
    for row in range(2):
        duplicates.add(prompt(row, "much too long"), [])
    score = Score("answer")
    shorter = replace(prompt(0, "much"), truncated=True)
    assert resolved(duplicates, shorter, score) == {0: score, 1: score}
    assert not duplicates.add(prompt(2, "much"), []), "a whole text of the same words is another one"


def test_the_oldest_answers_are_forgotten() -> None:
    duplicates = Duplicates()
    for row in range(REMEMBERED + 1):
        duplicates.add(prompt(row, f"text {row}"), [])
        resolved(duplicates, prompt(row, f"text {row}"), Score(str(row)))
    assert len(duplicates.answers) == REMEMBERED
    assert not duplicates.add(prompt(0, "text 0"), [])


def test_all_facts_of_an_answer_go_to_duplicates_and_kept_cells_stay_with_their_row() -> None:
    duplicates, known = Duplicates(), []
    kept = [{"label": each} for each in "abc"]
    asked = [replace(prompt(row, "same"), kept=kept[row]) for row in range(3)]
    for each in asked[:2]:
        duplicates.add(each, [])
    settled = [Settled("f", 0, Score("answer"), "0", kept[0])]
    duplicates.resolve(asked[:1], settled)
    assert [row.kept for row in settled] == kept[:2]
    assert not any(row.kept for row in duplicates.answers.values()), "they may be large"
    duplicates.add(asked[2], known)
    assert known == [replace(settled[0], row=2, id="2", kept=kept[2])]
