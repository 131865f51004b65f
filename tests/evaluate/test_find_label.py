"""From text to label: what went wrong in public, one test each, and the ways in their order."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from batchscore.evaluate.find_label import LabelFinder
from batchscore.evaluate.fold import Labels, fold, number_of, text_of

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
    (NUMBERS, "It is -4", None, "none"),
    (NUMBERS, "1.0", "1", "whole"),
    (SENTIMENT, "neither negative nor neutral; it is positive", "positive", "mention"),
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
    # "no" before a noun denies it, and is no answer.
    (YES, "I have no idea", None, "none"),
    (YES, "There is no evidence", None, "none"),
    (YES, "There is no evidence of that in the text.", None, "none"),
    (YES, "Answer: no evidence", None, "none"),
    (YES, "No, there is no evidence.", "no", "mention"),
    (YES, "No, since it is late", "no", "mention"),
    (YES, "No it is not spam", "no", "mention"),
    (YES, "I would say no.", "no", "mention"),
    (YES, "I'd say **no**", "no", "mention"),
    (YES, "There is no evidence against it, so yes", "yes", "mention"),
    (YES, "Answer: no, it is not", "no", "marker"),
    # A verb of opinion denies what follows in its clause.
    (SENTIMENT, "I don't think it is positive", None, "none"),
    (SENTIMENT, "I don’t think that this review is at all positive", None, "none"),  # noqa: RUF001
    (SENTIMENT, "I would not call this customer's short message positive", None, "none"),
    (SENTIMENT, "It doesn't seem to be positive", None, "none"),
    (SENTIMENT, "It cannot be described as very positive", None, "none"),
    (SENTIMENT, "I don't think it is positive, it is negative", "negative", "mention"),
    (SENTIMENT, "I don't think it is positive because it sounds negative", "negative", "mention"),
    (SENTIMENT, "I don't think the answer is positive", None, "none"),
    (SENTIMENT, "Answer: negative. I don't think the answer is positive.", "negative", "marker"),
    (SENTIMENT, "Ich glaube nicht, dass es positive ist", None, "none"),
    (SENTIMENT, "It is hardly positive", None, "none"),
    (SENTIMENT, "Positive is wrong here", None, "none"),
    (SENTIMENT, "Not sure whether it is positive", None, "none"),
    (SENTIMENT, "It is far from positive", None, "none"),
    (SENTIMENT, "It is anything but positive", None, "none"),
    (SENTIMENT, "There is nothing positive here", None, "none"),
    (SENTIMENT, "Rather than positive, it is negative", "negative", "mention"),
    (SENTIMENT, "It is surely positive, not negative", "positive", "mention"),
    (SENTIMENT, "Positive is not the right label; negative is", "negative", "mention"),
    (SENTIMENT, "No doubt it is positive", "positive", "mention"),
    (SENTIMENT, "It is not only friendly, it is positive", "positive", "mention"),
    # Scripts without blanks between words.
    (("快递", "账单"), "这是快递问题。", "快递", "mention"),
    (("快递", "账单"), "这不是快递问题,而是账单问题。", "账单", "mention"),
    (("快递", "账单"), "不属于快递", None, "none"),
    (("快递", "账单"), "快递和账单", None, "several"),
    (("快递", "账单"), "类别:账单", "账单", "marker"),
    (("快递", "账单"), "可能是快递。答案是账单。", "账单", "marker"),
    (("快递", "账单"), "账单。", "账单", "whole"),
    (("投诉", "不投诉"), "结论是用户不投诉", "不投诉", "marker"),
    (("配送", "請求"), "これは配送についてです", "配送", "mention"),
    (("配送", "請求"), "配送ではありません", None, "none"),
    (SENTIMENT, "这是positive的", "positive", "mention"),
    (("긍정", "부정"), "이 리뷰는 긍정입니다", "긍정", "mention"),
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
    (("-1", "0", "1"), "−1", "-1", "whole"),  # noqa: RUF001
    (("-1", "0", "1"), "Score: −1", "-1", "marker"),  # noqa: RUF001
    (("−1", "0", "1"), "It is -1", "−1", "mention"),  # noqa: RUF001
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
        (r'"final": ?"(\w)"', '{"first": "A", "final": "B"}', "B"),
        (r'"final": ?"(\w)"', {"first": "A", "final": "B"}, "B"),
        (r'"final": ?"(\w)"', '{"first": "A"}', None),
    ],
)
def test_a_pattern_of_the_user_has_no_fallback(pattern: str, answer: Any, label: str | None) -> None:
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
    [
        *(
            (1.0, "1"),
            (1.5, "1.5"),
            (True, "true"),
            (float("nan"), None),
            (" ", None),
            ("a ", "a "),
            (None, None),
        ),
        *((1e30, str(int(1e30))), ({"d": 10**30}, f'{{"d":{10**30}}}')),
    ],
)
def test_cells_as_labels(value: Any, text: str | None) -> None:
    assert text_of(value) == text


def test_folding_keeps_what_tells_labels_apart() -> None:
    assert len({fold(text) for text in ("C", "C++", "C#", "-1", "1", "1.5", "15")}) == 7


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "text"), [("ABCD", "I see a pattern, A "), ("12345", "1 ")])
def test_a_long_answer_takes_time_by_its_length(labels: str, text: str) -> None:
    """Models that repeat themselves write such answers."""
    finder, started = LabelFinder(Labels(labels)), time.process_time()
    finder.find(text * 10_000)
    assert time.process_time() - started < 4  # not a minute


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234", 1234),
        ("-1,234,567.5", -1234567.5),
        ("−1,234e2", -123400),  # noqa: RUF001
        ("72,", 72),  # as a pattern may leave it
        # A decimal comma may not be read as one between thousands.
        *dict.fromkeys(
            ("3,5", "2,25", "0,125", "1,2,3", "1.234,5", "1234,567", "1,234,5", "1,000.5,3")
        ).items(),
    ],
)
def test_commas_in_numbers(text: str, number: float | None) -> None:
    assert number_of(text) == number
