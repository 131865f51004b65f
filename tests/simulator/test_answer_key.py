"""A simulator that knows the right answers is wrong exactly as often, and in the way, that its file says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from batchscore.simulator import start
from batchscore.simulator.answer_key import STYLES, AnswerKey, JudgeFaults, read_key
from batchscore.simulator.vector_table import read_table
from batchscore.simulator.words import AnswerOptions

TEXTS = {f"text number {n}": ("red", "green", "blue")[n % 3] for n in range(1500)}


def right(key: AnswerKey, model: str) -> np.ndarray:
    return np.array([key.label(model, text) == gold for text, gold in key.labels.items()])


def test_models_are_as_right_as_the_key_says() -> None:
    key = AnswerKey(TEXTS, {"small": 0.7, "large": 0.9, "*": 0.5})
    shares = {name: float(right(key, name).mean()) for name in ("small", "large", "other")}
    assert shares == pytest.approx({"small": 0.7, "large": 0.9, "other": 0.5}, abs=0.03)
    assert (right(key, "small") == right(AnswerKey(TEXTS, {"small": 0.7}), "small")).all()
    assert right(AnswerKey(TEXTS), "m").all()


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_texts_are_hard_for_all_models(shared: float) -> None:
    """Of texts that are equally hard for all, the better model is right wherever the other one is."""
    key = AnswerKey(TEXTS, {"small": 0.7, "large": 0.8}, shared=shared)
    apart = float((right(key, "small") != right(key, "large")).mean())
    assert apart == pytest.approx(shared * 0.1 + (1 - shared) * (0.7 * 0.2 + 0.3 * 0.8), abs=0.03)


def test_wrong_labels_follow_the_confusion() -> None:
    key = AnswerKey(TEXTS, {"*": 0.0}, confusion={"red": {"blue": 3, "green": 1}})
    wrong = Counter(key.label("m", text) for text, gold in TEXTS.items() if gold == "red")
    assert wrong["red"] == 0
    assert wrong["blue"] / wrong["green"] == pytest.approx(3, abs=0.5)
    assert key.label("m", "text number 1") in {"red", "blue"}


def test_each_style_says_the_label_in_its_way() -> None:
    options = AnswerOptions()
    for style in STYLES:
        key = AnswerKey(TEXTS, styles={style: 1.0})
        answer = key.write("m", "Which colour? text number 0", options)
        assert answer is not None
        assert key.style("m", "text number 0") == style
        if style in {"refusal", "filtered", "empty"}:
            assert answer.text is None
        elif style not in {"outside", "cut_before", "synonym"}:
            assert "red" in (answer.text or "").lower()
        assert (answer.refusal is not None) == (style == "refusal")
        reason = {"filtered": "content_filter"}.get(style, "length" if style.startswith("cut_") else "stop")
        assert answer.finish_reason == reason


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("text number 7", "text number 7"),
        ("Classify this.\ntext number 17\nAnswer:", "text number 17"),
        ("Text: text number 170", "text number 170"),
        ("What is «text number 170» about?", "text number 170"),
        ("something else", None),
    ],
)
def test_the_text_is_found_in_prompts(prompt: str, text: str | None) -> None:
    assert AnswerKey(TEXTS).text_in(prompt) == text


SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string", "enum": ["A", "B", "tie"]}}}


def verdict(judge: AnswerKey, text: str, one: str, two: str) -> Any:
    prompt = f"{text}\n<answer_a>{one}</answer_a>\n<answer_b>{two}</answer_b>"
    answer = judge.write("judge", prompt, AnswerOptions(as_json=True, schema=SCHEMA))
    assert answer is not None
    return json.loads(answer.text or "")["verdict"]


def test_a_judge_knows_the_better_answer_and_has_its_faults() -> None:
    judge = AnswerKey(TEXTS)
    assert verdict(judge, "text number 0", "It is red.", "It is blue.") == "A"
    assert verdict(judge, "text number 0", "blue", "red") == "B"
    assert verdict(judge, "text number 0", "red", "Red!") == "tie"
    biased = AnswerKey(TEXTS, judge=JudgeFaults(first=0.3))
    both = Counter(
        (verdict(biased, text, "red", "green"), verdict(biased, text, "green", "red"))
        for text, gold in TEXTS.items()
        if gold == "red"
    )
    assert both["A", "A"] / both.total() == pytest.approx(0.3, abs=0.05)
    assert both["A", "B"] + both["A", "A"] == both.total()
    longer = AnswerKey(TEXTS, judge=JudgeFaults(longer=1.0))
    assert verdict(longer, "text number 0", "red", "it is certainly green") == "B"
    noisy = AnswerKey(TEXTS, judge=JudgeFaults(noise=1.0))
    assert verdict(noisy, "text number 0", "red", "green") == "B"
    assert verdict(noisy, "text number 0", "red", "red") == "tie", "turned around, it is the same"
    broken = AnswerKey(TEXTS, judge=JudgeFaults(malformed=1.0))
    with pytest.raises(ValueError, match="delimiter"):
        verdict(broken, "text number 0", "red", "green")
    one = judge.write("j", "text number 0\n<answer>\nblue\n</answer>", AnswerOptions())
    assert one is not None
    assert one.text == "Verdict: incorrect"
    said = "Grade what is inside <answer>.\nQuestion: text number 0\nRight answer: red\n"
    verdicts = [
        judge.write("j", f"{said}<answer>\n{each}\n</answer>", AnswerOptions())
        for each in ("It is red", "no")
    ]
    assert [each and each.text for each in verdicts] == ["Verdict: correct", "Verdict: incorrect"]
    schema = {"type": "object", "properties": {"verdict": {"enum": ["correct", "incorrect"]}}}
    as_json = AnswerOptions(as_json=True, schema=schema)
    wrong = judge.write("j", f"{said}<answer>\nno\n</answer>", as_json)
    assert wrong is not None
    assert json.loads(wrong.text) == {"verdict": "incorrect"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([], "must be an object with some of labels, accuracy"),
        ({}, "'labels' must be the label of each text"),
        ({"labels": {}}, "'labels' must be the label"),
        ({"labels": ["a"]}, "'labels' must be the label"),
        ({"labels": {"a": 1}}, "'labels' must be the label"),
        ({"accuracy": 0.6}, r'or {"\*": 0.8} for all'),
        ({"accuracy": {"m": 60}}, "'accuracy' must be a share between 0 and 1"),
        ({"confusion": {"b": 3}}, "the weights of the wrong ones"),
        ({"confusion": {"b": {"c": -1}}}, "the weights of the wrong ones"),
        ({"styles": {"rhyme": 1}}, "some of bare, sentence"),
        ({"styles": "bare"}, "some of bare, sentence"),
        ({"synonyms": ["c"]}, "a word for each label"),
        ({"shared": "much"}, "'shared' must be a share"),
        ({"confidence": None}, "'confidence' must be a number"),
        ({"judge": 0.3}, "some of first, longer, noise, malformed"),
        ({"judge": {"x": 0.3}}, "some of first, longer, noise, malformed"),
        ({"seed": 0.5}, "'seed' must be a whole number"),
        ({"x": 1}, "no field 'x'; the fields are labels, accuracy"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, wrong: Any, why: str) -> None:
    path = tmp_path / "key.json"
    whole = {"labels": {"a": "b"}, **wrong} if wrong else wrong
    path.write_text(json.dumps(whole), "utf-8")
    with pytest.raises(ValueError, match=rf"key\.json is not an answer key: .*{why}"):
        read_key(str(path))
    with pytest.raises(ValueError, match="not a table of vectors"):
        read_table(str(path))


@pytest.mark.process
@pytest.mark.slow
def test_the_server_answers_from_its_files(tmp_path: Path) -> None:
    labels: Mapping[str, str] = {f"text {n}": "yes" if n % 2 else "no" for n in range(8)}
    key = {
        "labels": labels,
        "accuracy": {"m": 0.8},
        "styles": {"refusal": 0.5, "bare": 0.5},
        "confidence": 0.1,
    }
    (tmp_path / "key.json").write_text(json.dumps(key), "utf-8")
    recorded = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "v.npz", texts=np.array(["text 0", "text 1"]), vectors=recorded)
    expected = AnswerKey(**key)  # type: ignore[arg-type]
    given = {"answers": str(tmp_path / "key.json"), "vectors": str(tmp_path / "v.npz")}
    with (
        start(**given) as running,
        openai.OpenAI(base_url=f"{running.endpoint}/v1", api_key=running.key) as client,
    ):
        for text in labels:
            messages: Any = [{"role": "user", "content": text}]
            reply = client.chat.completions.create(
                model="m", messages=messages, logprobs=True, top_logprobs=2
            )
            choice = reply.choices[0]
            if expected.style("m", text) == "refusal":
                assert (choice.message.content, bool(choice.message.refusal)) == (None, True)
                continue
            assert choice.message.content == expected.label("m", text)
            assert choice.logprobs is not None
            assert choice.logprobs.content is not None
            assert np.exp(choice.logprobs.content[0].logprob) == pytest.approx(0.9)
        vectors = client.embeddings.create(model="m", input=["text 1", "unknown"], encoding_format="float")
        assert vectors.data[0].embedding == recorded[1].tolist()
        assert len(vectors.data[1].embedding) == 3
