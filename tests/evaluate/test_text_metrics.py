"""Answers, ROUGE, entities and translations: as their reference implementations count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.evaluate.metrics import answers, entities, rouge, translation
from batchscore.evaluate.statistics.compare import resample_sums
from batchscore.evaluate.statistics.intervals import Sampling
from evaluated import measured, write_input, write_scores

words = st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "Dogs", "1,000", "\n"]), max_size=12)
texts = words.map(" ".join)


@pytest.mark.parametrize(
    ("answer", "golds", "f1", "exact"),
    [
        ("C++", ["c"], 1, 1),
        ("1,000", ["1000"], 1, 1),
        ("the", [""], 1, 1),
        ("“Paris”", ["Paris"], 0, 0),
        ("The Eiffel Tower.", ["Tower Bridge", "eiffel tower"], 1, 1),
        ("in Paris, France", ["Paris"], 0.5, 0),
        ("", ["x"], 0, 0),
        ("", [""], 1, 1),
        ("x", [], 0, 0),
        ("東京都", ["東京"], 0, 0),
        ("北京 indeed", ["北京"], 2 / 3, 0),
    ],
)
def test_short_answers(answer: str, golds: list[str], f1: float, exact: float) -> None:
    assert answers.scores_of(answer, golds) == pytest.approx((f1, exact))


@pytest.mark.slow
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_rouge_equals_rouge_score(answer: str, golds: list[str]) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(list(rouge.NAMES))
    expected = scorer.score_multi(golds, answer)
    found = dict(zip(rouge.NAMES, rouge.scores_of(answer, golds), strict=True))
    assert found == pytest.approx({name: each.fmeasure for name, each in expected.items()})


def test_a_text_that_rouge_cannot_read_is_known() -> None:
    assert rouge.scores_of("東京", ["東京"]) == (0, 0, 0, 0)
    assert not rouge.has_tokens(["東京"])


tags = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=8)


@pytest.mark.slow
@given(pairs=st.lists(st.tuples(tags, tags), min_size=1, max_size=4), strict=st.booleans())
def test_tags_equal_seqeval(pairs: list[tuple[list[str], list[str]]], *, strict: bool) -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    scheme = pytest.importorskip("seqeval.scheme").IOB2
    pairs = [(gold, (found + ["O"] * 8)[: len(gold)]) for gold, found in pairs]
    sums = np.sum(
        [
            entities.counts_of(
                entities.spans_of(found, strict=strict), entities.spans_of(gold, strict=strict)
            )
            for gold, found in pairs
        ],
        axis=0,
    )
    options: dict[str, Any] = {"mode": "strict", "scheme": scheme} if strict else {}
    expected = metrics.f1_score(*map(list, zip(*pairs, strict=True)), zero_division=0, **options)
    assert 2 * sums[0] / max(sums[1] + sums[2], 1) == pytest.approx(expected)


def test_tags_of_a_known_example() -> None:
    """The README of seqeval: F1 0.50; and a tag that strictly begins no entity."""
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    counts = [
        entities.counts_of(entities.spans_of(f), entities.spans_of(g))
        for f, g in zip(found, gold, strict=True)
    ]
    assert np.sum(counts, axis=0).tolist() == [1, 2, 2]
    assert entities.spans_of(["I-PER"], strict=False) == [("PER", 0, 1)]
    assert entities.spans_of(["I-PER"]) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"text": "New York", "type": "LOC"}], [("new york", "loc")]),
        ([["New  York", "LOC"]], [("new york", "loc")]),
        ({"LOC": ["New York"], "PER": []}, [("new york", "loc")]),
        ({"entities": [{"entity": "Ann", "label": "PER"}]}, [("ann", "per")]),
        ({"text": "Ann", "label": "PER"}, [("ann", "per")]),
        ([], []),
        ("Ann", None),
        (["Ann"], None),
        ([{"text": "Ann"}], None),
    ],
)
def test_entities_as_models_write_them(value: Any, found: list[tuple[str, str]] | None) -> None:
    if found is None:
        with pytest.raises(entities.NoEntitiesError):
            entities.entities_of(value)
    else:
        assert entities.entities_of(value) == found


#: The README of sacrebleu.
ANSWERS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


@pytest.mark.parametrize(
    ("tokenize", "score"), [("13a", 48.530827), ("none", 49.1919566), ("intl", 43.91623493)]
)
def test_bleu_of_a_known_example(tokenize: str, score: float) -> None:
    pytest.importorskip("sacrebleu")
    metric = translation.metric_named("bleu", tokenize)
    counts = translation.counts_of(metric, ANSWERS, REFERENCES)
    assert translation.figure_of(metric)(counts.sum(0)[None])[0] == pytest.approx(score, abs=1e-6)
    signature = translation.signature_of(metric)
    assert f"nrefs:2|case:mixed|eff:no|tok:{tokenize}|smooth:exp" in signature


def test_bleu_of_a_known_example_is_that_of_an_evaluation(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    source = write_input(tmp_path / "in.csv", [{"golds": json.dumps(each)} for each in REFERENCES])
    scores = write_scores(tmp_path / "s", source, ANSWERS, keep=["golds"])
    (model,) = measured(tmp_path / "e", scores, "--label", "golds", "--as", "text-translation")["models"]
    assert model["metrics"]["bleu"]["value"] == pytest.approx(48.530827, abs=1e-6)


def test_rows_may_have_different_numbers_of_references() -> None:
    pytest.importorskip("sacrebleu")
    metric = translation.metric_named("chrf")
    counts = translation.counts_of(metric, ["a b c", "d e f"], [["a b c"], ["x", "d e f"]])
    assert translation.figure_of(metric)(counts.sum(0)[None])[0] == pytest.approx(100)


@pytest.mark.slow
@pytest.mark.parametrize(("system", "p_value"), [("FBK", 0.0218), ("online_B", 0.941)])
def test_p_values_of_wmt17(system: str, p_value: float) -> None:
    """As sacrebleu's own tests list them from MultEval, against LIUM; their tolerance is 0.01."""
    pytest.importorskip("sacrebleu")
    metric = translation.metric_named("bleu", "none")
    with np.load(Path(__file__).parent / "published" / "wmt17-en-de-bleu.npz") as counts:
        base, model = (counts[name].astype(float) for name in ("LIUM", system))
    found = resample_sums(model, base, translation.figure_of(metric), Sampling())
    assert found.comparison(len(base)).p_value == pytest.approx(p_value, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", translation.NAMES)
@given(pairs=st.lists(st.tuples(texts, st.lists(texts, min_size=2, max_size=2)), min_size=1, max_size=6))
def test_sums_of_counts_equal_sacrebleu(name: str, pairs: list[tuple[str, list[str]]]) -> None:
    pytest.importorskip("sacrebleu")
    found, golds = [each for each, _ in pairs], [each for _, each in pairs]
    metric = translation.metric_named(name)
    counts = translation.counts_of(metric, found, golds)
    expected = translation.metric_named(name).corpus_score(found, [*map(list, zip(*golds, strict=True))])
    assert translation.figure_of(metric)(counts.sum(0)[None])[0] == pytest.approx(expected.score)
