"""What does a tuned model answer? What its file teaches: the answer to this prompt, or to a similar one.

It must not know HTTP nor jobs: a training file, a prompt and options in, a text out. Labels are found
by the words of the prompts (naive Bayes), so that new texts of the same kind are answered better than by the
base model, and not perfectly. Where answers are no labels, a similar prompt must share most of the words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from math import log
from pathlib import Path

import orjson

from batchscore.simulator.finetune.training_file import learned_examples
from batchscore.simulator.words import WORD, AnswerOptions, GeneratedText, cut_answer, write_json

#: A task is one of labels if there are at least this many examples for each.
_EXAMPLES_PER_LABEL = 3


class LearnedAnswers:
    """What a model has learned."""

    def __init__(self, path: Path) -> None:
        self._answers: dict[str, str] = {}
        labels: Counter[str] = Counter()
        words: dict[str, Counter[str]] = defaultdict(Counter)
        for example in learned_examples(path):
            self._answers[_normal(example.prompt)] = example.answer
            labels[example.answer] += 1
            words[example.answer].update(_words(example.prompt))
        is_labels = 1 < len(labels) <= labels.total() / _EXAMPLES_PER_LABEL
        self._labels = labels if is_labels else Counter[str]()
        self._words = words
        self._replies = list(self._answers.values())
        self._prompts_with: dict[str, list[int]] = defaultdict(list)
        if not is_labels:
            for at, prompt in enumerate(self._answers):
                for word in set(WORD.findall(prompt)):
                    self._prompts_with[word].append(at)
        self._known = len({word for counts in words.values() for word in counts})

    def answer(self, prompt: str) -> str | None:
        """Return the answer to a prompt; None if nothing is known about it."""
        found = self._answers.get(_normal(prompt))
        if found is not None:
            return found
        if not self._labels:
            return self._similar(prompt)
        asked = _words(prompt)

        def likelihood(label: str) -> float:
            counts = self._words[label]
            total = counts.total() + self._known
            return log(self._labels[label]) + sum(log((counts[word] + 1) / total) for word in asked)

        return max(sorted(self._labels), key=likelihood)

    def _similar(self, prompt: str) -> str | None:
        """Return the answer to the prompt that shares the most words, if it shares more than half of them."""
        asked = set(WORD.findall(prompt.casefold()))
        shared = Counter(at for word in asked for at in self._prompts_with.get(word, ()))
        if not shared:
            return None
        at, count = max(shared.items(), key=lambda one: (one[1], -one[0]))
        return self._replies[at] if count > len(asked) / 2 else None

    def write(self, prompt: str, options: AnswerOptions) -> GeneratedText | None:
        """Return the answer as a model writes it, by the options of a request."""
        found = self.answer(prompt)
        if found is None:
            return None
        if options.as_json and options.schema is not None and not _is_object(found):
            found = write_json(found, options.schema, 0)
        return cut_answer(found, options)


#: What a model has learned from a file.
learned_answers = lru_cache(maxsize=16)(LearnedAnswers)


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _words(text: str) -> list[str]:
    found = WORD.findall(text.casefold())
    return [*found, *(" ".join(pair) for pair in pairwise(found))]
