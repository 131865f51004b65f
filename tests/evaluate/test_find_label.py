"""From text to label: what went wrong in public, one test each, and the ways in their order."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batchscore.evaluate.find_label import LabelFinder
from batchscore.evaluate.fold import Labels, fold, text_of

SENTIMENT = ("positive", "negative", "neutral")
LETTERS = ("A", "B", "C", "D")
NUMBERS = tuple(map(str, range(1, 11)))
YES = ("yes", "no")
ENTAILS = ("entailment", "contradiction", "entail")

#: Labels, answer, the label that it gives, and how it is found.
ANSWERS: list[tuple[tuple[str, ...], Any, str | None, str]] = [
    # The first letter of a text is no choice.
    (LETTERS, "The correct answer is (B)", "B", "marker"),
    (LETTERS, "The answer is B because it is blue.", "B", "marker"),
    (LETTERS, "Based on the picture", None, "none"),
    (LETTERS, "A dog and a cat are in it.", None, "none"),
    (LETTERS, "I think it is (C), clearly.", "C", "mention"),
    (LETTERS, "It must be option D", "D", "mention"),
    (LETTERS, "B", "B", "whole"),
    (LETTERS, "b.", "B", "whole"),
    (LETTERS, "**(B)**", "B", "whole"),
    # An empty marker does not take the next word of the same kind.
    (LETTERS, "Antwort:\n\nAntwort: C", "C", "marker"),
    (LETTERS, "Antwort:\n\nC", "C", "marker"),
    # A strict pattern finds nothing though the text holds the answer.
    (NUMBERS, "It is seven, so #### 7", "7", "mention"),
    (NUMBERS, "It is seven.\n#### 7", "7", "marker"),
    (NUMBERS, r"Thus $\boxed{7}$.", "7", "marker"),
    (NUMBERS, "The answer is **7**.", "7", "marker"),
    # Reasoning is not the answer.
    (SENTIMENT, "<think>It sounds positive.</think>\nnegative", "negative", "whole"),
    (SENTIMENT, "<think>It sounds positive. Or", None, "none"),
    (SENTIMENT, "It sounds positive.</think>negative", "negative", "whole"),
    (SENTIMENT, "It could be positive or neutral. Sentiment: negative", "negative", "marker"),
    # Examples that the model recites come first; the last verdict counts.
    (LETTERS, "Q: 1+1? Answer: A\nQ: 2+2? Answer: B\nSo the answer is C.", "C", "marker"),
    (SENTIMENT, "Answer: positive.\nOn second thought.\nFinal answer: unclear", None, "none"),
    # The score is in the brackets, not in the prose after it.
    (NUMBERS, "[[7]]. I scored 7/10 since it is short.", "7", "marker"),
    (NUMBERS, "I give it 7/10.", "7", "mention"),
    (NUMBERS, "That is 7 out of 10.", "7", "mention"),
    (NUMBERS, "About 7.5", None, "none"),
    (NUMBERS, "17 of them, or 70%", None, "none"),
    # Parts of words, and what is denied.
    (ENTAILS, "This is an entailment here", "entailment", "mention"),
    (SENTIMENT, "It is not positive.", None, "none"),
    (SENTIMENT, "It is not positive but negative.", "negative", "mention"),
    (SENTIMENT, "Das ist nicht positive, es ist neutral", "neutral", "mention"),
    (SENTIMENT, "non-negative", None, "none"),
    (SENTIMENT, "neither positive nor negative", None, "none"),
    (("spam", "not spam"), "This is not spam, I believe", "not spam", "mention"),
    (YES, "No", "no", "whole"),
    (YES, "I know nothing", None, "none"),
    # Several, none final.
    (SENTIMENT, "positive and negative", None, "several"),
    (SENTIMENT, "Answer: positive or negative", None, "several"),
    # A label on a line of its own beats what the reasons mention.
    (SENTIMENT, "Positive\n\nIt is happy, not negative, though neutral words occur.", "positive", "line"),
    # Case, blanks, joints, Markdown, width, quotes.
    (("card_arrival", "card_linking"), "Card arrival.", "card_arrival", "whole"),
    (("card_arrival", "card_linking"), "about card-linking, I guess", "card_linking", "mention"),
    (SENTIMENT, "“ＰＯＳＩＴＩＶＥ”", "positive", "whole"),  # noqa: RUF001
    (SENTIMENT, "- **Negative**", "negative", "whole"),
    (("C", "C++", "C#"), "C++", "C++", "whole"),
    (("-1", "0", "1"), "-1", "-1", "whole"),
    (("-1", "0", "1"), "- 1", "1", "whole"),
    # Structured answers.
    (SENTIMENT, {"reason": "It is not positive.", "label": "Negative"}, "negative", "field"),
    (SENTIMENT, {"first": "positive", "second": "negative"}, None, "several"),
    (SENTIMENT, '{"label": "neutral"}', "neutral", "field"),
    (SENTIMENT, '```json\n{"label": "neutral"}\n```', "neutral", "field"),
    (SENTIMENT, 'Here it is:\n```\n{"label": "neutral"}\n```\nIt is positive.', "neutral", "field"),
    (SENTIMENT, '{"label": "happy"}', None, "none"),
    (("true", "false"), {"spam": True}, "true", "field"),
    (("0", "1"), {"spam": 1.0}, "1", "field"),
    (("0", "1"), 1, "1", "whole"),
    (SENTIMENT, None, None, "none"),
    (SENTIMENT, "", None, "none"),
    (SENTIMENT, "…", None, "none"),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "answer", "label", "how"), ANSWERS)
def test_an_answer_gives_this_label(
    labels: tuple[str, ...], answer: Any, label: str | None, how: str
) -> None:
    found = LabelFinder(Labels(labels)).find(answer)
    assert (found.label, found.how) == (label, how)


@pytest.mark.parametrize(
    ("field", "answer", "label"),
    [
        ("verdict", {"verdict": "positive", "other": "negative"}, "positive"),
        ("a.b", {"a": {"b": "neutral"}}, "neutral"),
        ("a.b", {"a.b": "neutral"}, "neutral"),
        ("verdict", '{"verdict": "Positive."}', "positive"),
        ("verdict", '{"other": "positive"}', None),
        ("verdict", "positive", "positive"),
        ("verdict", '{"verdict": "posi', None),
        ("verdict", {"verdict": ["positive"]}, None),
        ("verdict", {"verdict": None}, None),
    ],
)
def test_a_field_of_the_user_is_the_only_one(field: str, answer: Any, label: str | None) -> None:
    assert LabelFinder(Labels(SENTIMENT), field=field).find(answer).label == label


@pytest.mark.parametrize(
    ("pattern", "answer", "label"),
    [
        (r"GRADE: (\w)", "GRADE: A then GRADE: B", "B"),
        (r"GRADE: (\w)", "The best is (C)", None),
        (r"GRADE: (?P<x>.)(?P<label>\w)", "GRADE: xD", "D"),
        (r"(?<=<)[A-D](?=>)", "so <B>", "B"),
        (r"GRADE: (\w)", "GRADE: Z", None),
        (r"GRADE:( \w)?", "GRADE:", None),
    ],
)
def test_a_pattern_of_the_user_has_no_fallback(pattern: str, answer: str, label: str | None) -> None:
    found = LabelFinder(Labels(LETTERS), pattern=re.compile(pattern)).find(answer)
    assert found.label == label
    assert found.how == ("pattern" if label else "none")


def test_other_spellings_of_a_label() -> None:
    labels = Labels(SENTIMENT, {"good": "positive", "schlecht": "negative"})
    finder = LabelFinder(labels)
    assert finder.find("Good!").label == "positive"
    assert finder.find("Das ist schlecht").label == "negative"
    assert finder.find("good, never bad").label == "positive"


def test_labels_that_differ_in_case_only_are_compared_exactly() -> None:
    finder = LabelFinder(Labels(("A", "a")))
    assert [finder.find(text).label for text in ("A", "a", "(a)")] == ["A", "a", "a"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1.5, "1.5"), (True, "true"), (float("nan"), None), (" ", None), ("a ", "a "), (None, None)],
)
def test_cells_as_labels(value: Any, text: str | None) -> None:
    assert text_of(value) == text


def test_folding_keeps_what_tells_labels_apart() -> None:
    assert len({fold(text) for text in ("C", "C++", "C#", "-1", "1", "1.5", "15")}) == 7
