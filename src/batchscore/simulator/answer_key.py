"""What does a model answer that knows the right labels, and is wrong as often as a file says?

It must not know HTTP: the name of a model, a prompt and options in, a text out. Everything follows from
hashes of the seed, the model and the text, so what an evaluation must find can be computed without asking.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import log
from pathlib import Path
from typing import Any

import orjson

from batchscore.simulator.words import AnswerOptions, GeneratedText, count_tokens, cut_answer, write_json

#: How an answer says its label: `{label}` is that of the answer, `{other}` another one.
STYLES: Mapping[str, str] = {
    "bare": "{label}",
    "sentence": "The best label for this text is {label}.",
    "markdown": "**{label}**",
    "json": '{{"label": "{label}"}}',
    "fenced": '```json\n{{"label": "{label}"}}\n```',
    "reasoning": "It could be {other}, since some words fit. Yet the rest does not.\n\nAnswer: {label}",
    "negation": "It is not {other}. It is {label}.",
    "case": "{LABEL}.",
    "synonym": "That is a case of {synonym}.",
    "two_labels": "{label} or {other}",
    "marker": "Antwort: {label}",
    "refusal": "I'm sorry, but I can't help with that.",
    "cut_before": "Let me think about this text step by step. First",
    "cut_after": "Answer: {label}\n\nI chose this label because the text",
    "filtered": "",
    "empty": "",
    "outside": "None of these labels fits the text.",
}

#: Styles that do not end with `stop`.
_REASONS = {"cut_before": "length", "cut_after": "length", "filtered": "content_filter"}

#: Two answers that a judge compares, or the one that it judges. The instructions may name the mark alone.
_JUDGED = re.compile(
    r"<answer(?:_([ab]))?>\n?((?:(?!<answer).)*?)\n?</answer(?:_\1)?>", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True)
class JudgeFaults:
    """In which shares of prompts a judge errs.

    It prefers the first or the longer answer, turns its verdict around, or writes broken JSON.
    """

    first: float = 0.0
    longer: float = 0.0
    noise: float = 0.0
    malformed: float = 0.0


@dataclass(frozen=True)
class AnswerKey:
    """The content of the file.

    `labels`: the label of each text. `accuracy`: of each model; "*" is of all others. `confusion`: for a
    label the weights of the wrong ones. `styles`: their shares. `shared`: the share of texts that are equally
    hard for all models. `confidence` is added to the accuracy in `logprobs`.
    """

    labels: Mapping[str, str]
    accuracy: Mapping[str, float] = field(default_factory=dict)
    confusion: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    styles: Mapping[str, float] = field(default_factory=lambda: {"bare": 1.0})
    synonyms: Mapping[str, str] = field(default_factory=dict)
    shared: float = 0.5
    confidence: float = 0.0
    judge: JudgeFaults = JudgeFaults()
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """All labels, sorted."""
        return sorted(set(self.labels.values()))

    def accuracy_of(self, model: str) -> float:
        """Return how often a model is right."""
        return self.accuracy.get(model, self.accuracy.get("*", 1.0))

    def label(self, model: str, text: str, choice: int = 0) -> str:
        """Return the label that a model gives to a text: the right one, or a wrong one by the confusion."""
        gold = self.labels[text]
        if self._chance("shared", text) < self.shared:
            hardness = self._chance("hard", text)
        else:
            hardness = self._chance("hard", model, text, str(choice) if choice else "")
        if hardness < self.accuracy_of(model):
            return gold
        weights = self.confusion.get(gold) or {name: 1.0 for name in self.names if name != gold}
        return self._draw(weights, "wrong", model, text) or gold

    def style(self, model: str, text: str) -> str:
        """Return how a model answers to a text."""
        return self._draw(self.styles, "style", model, text) or "bare"

    def text_in(self, prompt: str) -> str | None:
        """Return the text of the key that a prompt asks for: all of it, a line, the end of one, or a part."""
        lines = [prompt, *prompt.splitlines()]
        for line in (*lines, *(line.partition(": ")[2] for line in lines)):
            if line.strip() in self.labels:
                return line.strip()
        inside = [text for text in self.labels if text in prompt]
        return max(inside, key=len, default=None)

    def write(self, model: str, prompt: str, options: AnswerOptions, choice: int = 0) -> GeneratedText | None:
        """Return the answer of a model to a prompt; `None` if the prompt has no text of the key."""
        text = self.text_in(prompt)
        if text is None:
            return None
        judged = _JUDGED.findall(prompt)
        if judged:
            return self._verdict(text, judged, options, choice)
        label = self.label(model, text, choice)
        if options.as_json and options.schema is not None:
            return cut_answer(write_json(label, options.schema, choice), options)
        style = self.style(model, text)
        others = [name for name in self.names if name != label] or [label]
        other = self._draw(dict.fromkeys(others, 1.0), "other", model, text) or label
        words = STYLES[style].format(
            label=label, other=other, LABEL=label.upper(), synonym=self.synonyms.get(label, "something else")
        )
        if style == "refusal":
            return GeneratedText(None, "stop", count_tokens(words), refusal=words)
        if style in {"filtered", "empty"}:
            return GeneratedText(None, _REASONS.get(style, "stop"), 0)
        found = cut_answer(words, options)
        sure = min(0.999, max(0.001, self.accuracy_of(model) + self.confidence))
        logprobs = _logprobs(label, others, sure)
        return found._replace(finish_reason=_REASONS.get(style, found.finish_reason), logprobs=logprobs)

    def _verdict(
        self, text: str, judged: Sequence[tuple[str, str]], options: AnswerOptions, choice: int
    ) -> GeneratedText:
        """Return a judge's verdict: A, B or tie of two answers; else correct or incorrect."""
        gold = self.labels[text].lower()
        rights = [gold in answer.lower() for _, answer in judged]
        noisy = self._chance("noise", text, str(choice), *(answer for _, answer in judged)) < self.judge.noise
        if len(judged) == 1:
            verdict = "correct" if rights[0] != noisy else "incorrect"
        else:
            (_, one), (_, two) = judged[:2]
            if self._chance("first", text) < self.judge.first:
                verdict = "A"
            elif self._chance("longer", text) < self.judge.longer and len(one) != len(two):
                verdict = "A" if len(one) > len(two) else "B"
            else:
                verdict = "tie" if rights[0] == rights[1] else "A" if rights[0] else "B"
            if noisy:
                verdict = {"A": "B", "B": "A"}.get(verdict, verdict)
        words = f"Verdict: {verdict}"
        if options.as_json and options.schema is not None:
            words = write_json(verdict, options.schema, choice)
            if self._chance("malformed", text) < self.judge.malformed:
                words = words[:-1]
        return cut_answer(words, options)

    def _chance(self, *words: str) -> float:
        """Return a number from 0 to 1 that follows from the seed and the words."""
        seeded = "\0".join((str(self.seed), *words)).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(seeded, digest_size=7).digest(), "big") / 2**56

    def _draw(self, weights: Mapping[str, float], *words: str) -> str | None:
        left = self._chance(*words) * sum(weights.values())
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        return None


def _logprobs(label: str, others: Sequence[str], sure: float) -> dict[str, Any]:
    """Return `logprobs` of a label that is one token: its stated probability, and those of some others."""
    shares = [(label, sure), *((name, (1 - sure) / len(others)) for name in others[:4])]
    top = [{"token": name, "logprob": log(max(share, 1e-9)), "bytes": None} for name, share in shares]
    return {"content": [{**top[0], "top_logprobs": top}], "refusal": None}


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _each(check: Callable[[Any], bool], names: Iterable[str] = ()) -> Callable[[Any], bool]:
    """Return the check of an object whose values pass a check, with these names only if there are any."""
    known = frozenset(names)
    return lambda value: (
        isinstance(value, dict) and all(map(check, value.values())) and (not known or value.keys() <= known)
    )


_FAULTS = [fault.name for fault in fields(JudgeFaults)]

#: What each field of the file must pass, and what it must be.
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (
        lambda value: bool(value) and _each(_text)(value),
        'the label of each text, such as {"Where is my parcel?": "delivery"}',
    ),
    "accuracy": (
        _each(_share),
        'a share between 0 and 1 for each model, such as {"mini": 0.8}, or {"*": 0.8} for all',
    ),
    "confusion": (
        _each(_each(lambda value: _number(value) and value >= 0)),
        'for a label the weights of the wrong ones, such as {"delivery": {"billing": 3}}',
    ),
    "styles": (_each(_share, STYLES), f"a share between 0 and 1 of some of {', '.join(STYLES)}"),
    "synonyms": (_each(_text), 'a word for each label, such as {"delivery": "shipping"}'),
    "shared": (_share, "a share between 0 and 1"),
    "confidence": (_number, "a number"),
    "judge": (_each(_share, _FAULTS), f"a share between 0 and 1 of some of {', '.join(_FAULTS)}"),
    "seed": (lambda value: _number(value) and isinstance(value, int), "a whole number"),
}


def _key_of(found: Any) -> AnswerKey:
    if not isinstance(found, dict):
        raise TypeError(f"it must be an object with some of {', '.join(_FIELDS)}")
    for name in ("labels", *found):
        if name not in _FIELDS:
            raise ValueError(f"it has no field {name!r}; the fields are {', '.join(_FIELDS)}")
        check, must_be = _FIELDS[name]
        if not check(found.get(name)):
            raise ValueError(f"{name!r} must be {must_be}")
    return AnswerKey(**{**found, "judge": JudgeFaults(**found.get("judge", {}))})


def read_key(named: str) -> AnswerKey:
    """Return the key in a JSON file; raises `ValueError` if it is none."""
    try:
        return _key_of(orjson.loads(Path(named).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{named} is not an answer key: {error}") from None
