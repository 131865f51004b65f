"""Which tasks can be evaluated, under Azure ML's names, and with which figures?

The first figure is the main one. It knows no rows; `guess_task` takes some labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from batchscore.errors import UsageError, count_text
from batchscore.evaluate.fold import fold, number_of, text_of
from batchscore.evaluate.labels import as_list, texts_of
from batchscore.evaluate.metrics import retrieval
from batchscore.evaluate.metrics.entities import are_tags

#: What is compared: labels, texts (`answers`, `overlap`, `translation`), entities, numbers; of vectors pairs,
#: labels by a `probe` or by the nearest `neighbours`, a `ranking` of documents, `clusters`.
Kind: TypeAlias = Literal[
    "labels",
    "answers",
    "overlap",
    "translation",
    "entities",
    "numbers",
    "pairs",
    "probe",
    "neighbours",
    "ranking",
    "clusters",
]

#: Tasks of vectors, with the option that names the other vectors which they need.
SECOND: Mapping[str, str] = {
    "pairs": "pair",
    "probe": "train",
    "neighbours": "train",
    "ranking": "documents",
    "clusters": "",
}


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """One task: what is compared, and the figures, of which all can be had and `shown` are by default."""

    name: str
    kind: Kind
    shown: tuple[str, ...]

    @property
    def has_classes(self) -> bool:
        """Whether each row has one label of several, and so a place in a confusion matrix."""
        return self.kind in {"labels", "neighbours"}

    @property
    def has_texts(self) -> bool:
        """Whether the whole text of an answer is compared."""
        return self.kind in {"answers", "overlap", "translation"}

    @property
    def definition(self) -> str | None:
        """How its figures are made, where there are several ways."""
        return _DEFINITIONS.get(self.name, _DEFINITIONS.get(self.kind))


#: How figures of a task, or of a kind of tasks, are made.
_DEFINITIONS: Mapping[str, str] = {
    "answers": "SQuAD: in lower case, without punctuation and articles; the best of all right answers",
    "overlap": "rouge-score: tokens of a to z and 0 to 9 in lower case, no stemmer; mean of F by row",
    "entities": "micro averages over entities; a tag I may begin one, as in conlleval",
    "text-classification-multilabel": "micro averages over the labels of all rows, in any order; case, "
    "blanks and punctuation around a label do not count",
    "pairs": "cosine of both vectors; ties have mean ranks",
    "probe": "MTEB: logistic regression on eight rows of each label, mean of ten experiments",
    "neighbours": "cosine, the majority of the five nearest rows",
    "ranking": "trec_eval: exact search by cosine, linear gains, ties by id",
    "clusters": "MTEB: mean of ten clusterings by mini-batch k-means",
}

#: Figures of which less is better.
ERRORS = frozenset({"mean_absolute_error", "root_mean_squared_error"})

_ENTITIES = ("f1_score_micro", "precision", "recall", "f1_score_samples")
_CLASSIFICATION = ("accuracy", "f1_score_macro", "balanced_accuracy", "matthews_correlation")
_ROUGE = ("rougeL", "rouge1", "rouge2", "rougeLsum")
_NUMBERS = (
    *("mean_absolute_error", "root_mean_squared_error", "r2_score"),
    *("spearman_correlation", "pearson_correlation"),
)

EVALUATION_TASKS: Mapping[str, EvaluationTask] = {
    task.name: task
    for task in (
        EvaluationTask("text-classification", "labels", _CLASSIFICATION),
        EvaluationTask("token-classification", "entities", _ENTITIES),
        EvaluationTask("text-classification-multilabel", "entities", _ENTITIES),
        EvaluationTask("question-answering", "answers", ("f1_score", "exact_match")),
        EvaluationTask("text-summarization", "overlap", _ROUGE),
        EvaluationTask("text-translation", "translation", ("chrf", "bleu")),
        EvaluationTask("text-generation", "overlap", _ROUGE),
        EvaluationTask("fill-mask", "answers", ("exact_match", "f1_score")),
        EvaluationTask("regression", "numbers", _NUMBERS),
        EvaluationTask("embedding-classification", "probe", ("accuracy", "f1_score_macro")),
        EvaluationTask("knn", "neighbours", _CLASSIFICATION),
        EvaluationTask("sts", "pairs", ("cosine_spearman", "cosine_pearson")),
        EvaluationTask("retrieval", "ranking", retrieval.NAMES),
        EvaluationTask("clustering", "clusters", ("v_measure", "adjusted_mutual_information")),
    )
}

#: Other names of the same tasks.
_ALIASES = {
    "classification": "text-classification",
    "multilabel": "text-classification-multilabel",
    "text-named-entity-recognition": "token-classification",
    "text-token-classification": "token-classification",
    "named-entity-recognition": "token-classification",
    "summarization": "text-summarization",
    "translation": "text-translation",
    "generation": "text-generation",
    "chat-completion": "text-generation",
    "ner": "token-classification",
    "qa": "question-answering",
    "text-question-answering": "question-answering",
    "text-fill-mask": "fill-mask",
    "linear-probe": "embedding-classification",
    "nearest-neighbours": "knn",
    "similarity": "sts",
    "sentence-similarity": "sts",
}

#: Labels that are more, or longer, are texts and not classes.
_MOST_CLASSES, _LONGEST_CLASS = 200, 60

#: Answers to questions have this many words at most, other texts have more.
_WORDS_OF_ANSWER = 5

#: What is between the labels of a text that lists several.
SEPARATOR = re.compile(r"[,;|\n]")


def task_named(name: str) -> EvaluationTask:
    """Return a task by any of its names; raises `UsageError`."""
    spelled = name.strip().lower().replace("_", "-").replace(" ", "-")
    found = EVALUATION_TASKS.get(_ALIASES.get(spelled, spelled))
    if found is None:
        raise UsageError(
            f"{name!r} is not a task that can be evaluated. The tasks are: {', '.join(EVALUATION_TASKS)}."
        )
    return found


def lists_in(golds: Sequence[Any]) -> list[list[Any]]:
    """Return the labels that hold several values."""
    return [found for gold in golds if (found := as_list(gold)) != [gold]]


def guess_task(golds: Sequence[Any]) -> tuple[EvaluationTask, str]:
    """Return the task that labels are most likely for, and what to say if they may be for another one."""
    lists = lists_in(golds)
    # A single right answer may stand without a list.
    if lists and 2 * len(lists) >= len(golds):
        items = [item for each in lists for item in each]
        if (items and are_tags(items)) or any(isinstance(item, (Mapping, list)) for item in items):
            return EVALUATION_TASKS["token-classification"], ""
        return EVALUATION_TASKS["question-answering"], _unsure(golds, _of_lists(texts_of(items)))
    texts = [text_of(gold) or "" for gold in golds]
    counts = Counter(map(fold, texts))
    repeated = sum(count for count in counts.values() if count > 1)
    # Classes occur again, also if there are few rows of each; answers to different questions seldom do.
    are_classes = 2 * repeated >= len(texts) or len(texts) == 1
    could_be = len(counts) <= _MOST_CLASSES and max(map(len, counts), default=0) <= _LONGEST_CLASS
    are_numbers = bool(texts) and all(number_of(text) is not None for text in texts)
    if could_be and are_classes:
        other = {} if 2 * len(counts) <= len(texts) else {"free answers": "question-answering"}
        if are_numbers and other:
            other = {"amounts": "regression"}
        return EVALUATION_TASKS["text-classification"], _unsure(golds, {**other, **_of_cells(texts)})
    if are_numbers:
        return EVALUATION_TASKS["regression"], ""
    other = {"classes": "text-classification"} if could_be and texts else {}
    if _words_in(texts) <= _WORDS_OF_ANSWER:
        return EVALUATION_TASKS["question-answering"], _unsure(golds, {**other, **_of_cells(texts)})
    return EVALUATION_TASKS["text-generation"], _unsure(golds, {**other, "translations": "text-translation"})


def _unsure(golds: Sequence[Any], others: Mapping[str, str]) -> str:
    """Return what to say if labels may be something else, for which there is another task."""
    if not others:
        return ""
    different = len({fold(text_of(gold) or "") for gold in golds})
    of = "" if len(golds) == 1 else f" ({different} different)"
    ways = "; if they are ".join(f"{what}, add --as {task}" for what, task in others.items())
    return f"Guessed from {count_text(len(golds), 'label')}{of}. If these are {ways}."


def _of_lists(items: Sequence[str]) -> dict[str, str]:
    """Return what lists of these texts may be, if not right answers to a question."""
    if items and 2 * len(set(map(fold, items))) <= len(items) and max(map(len, items)) <= _LONGEST_CLASS:
        return {"lists of classes": "text-classification-multilabel"}
    if _words_in(items) > _WORDS_OF_ANSWER:
        return {"long texts": "text-generation", "translations": "text-translation"}
    return {}


def _of_cells(texts: Sequence[str]) -> dict[str, str]:
    """Return whether texts may hold several classes each, of which there are fewer than texts."""
    parts = [part for text in texts for part in SEPARATOR.split(text) if part.strip()]
    if 4 * len(parts) > 5 * len(texts) and len(set(map(fold, parts))) < len(set(map(fold, texts))):
        return _of_lists(parts)
    return {}


def _words_in(texts: Sequence[str]) -> float:
    """Return the mean number of words."""
    return sum(len(text.split()) for text in texts) / max(1, len(texts))
