"""From `score` to `evaluate` against a simulator that knows the answers: every figure is known before."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batchscore.evaluate.statistics.compare import mcnemar
from batchscore.simulator import Running, start
from batchscore.simulator.answer_key import AnswerKey
from evaluated import write_input

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = pytest.mark.process

#: How a row with an answer of each style ends.
ENDS = {
    **dict.fromkeys(("bare", "sentence", "markdown", "json", "fenced", "reasoning"), "answered"),
    **dict.fromkeys(("negation", "case", "marker", "cut_after"), "answered"),
    "synonym": "no_label_found",
    "outside": "no_label_found",
    "two_labels": "several_labels",
    "refusal": "refused",
    "cut_before": "truncated",
    "filtered": "filtered",
    "empty": "empty",
}
LABELS = ("billing", "delivery", "account access")
KEY: Any = {
    "labels": {f"ticket {n} says so": LABELS[n % 3] for n in range(240)},
    "accuracy": {"small": 0.7, "large": 0.85},
    "styles": dict.fromkeys(ENDS, 1 / len(ENDS)),
    "seed": 7,
}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulator with an answer key and recorded vectors."""
    folder = tmp_path_factory.mktemp("key")
    (folder / "key.json").write_text(json.dumps(KEY), "utf-8")
    texts = list(KEY["labels"])
    vectors = np.eye(3, 8, dtype=np.float32)[np.arange(len(texts)) % 3]
    vectors[::10] = np.eye(3, 8, dtype=np.float32)[1]
    np.savez(folder / "vectors.npz", texts=np.array(texts), vectors=vectors)
    with start(answers=str(folder / "key.json"), vectors=str(folder / "vectors.npz")) as running:
        yield running


def score(running: Running, model: str, out: str, task: str = "chat") -> list[str]:
    """Return the command that scores the tickets."""
    where = ["--endpoint", running.endpoint, "--task", task, "-m", model, "--column", "text"]
    return ["score", "in", "-o", out, *where, "--keep", "label"]


@pytest.fixture
def tickets(batchscore: Cli, knowing: Running) -> Path:
    rows = [{"text": text, "label": label} for text, label in KEY["labels"].items()]
    return write_input(Path("in") / "tickets.csv", rows)


def measured(batchscore: Cli, *words: str) -> Any:
    done = batchscore("evaluate", *words, "--label", "label", "--json")
    assert done.exit_code == 0, done
    return done.report


@pytest.mark.slow
@pytest.mark.usefixtures("tickets")
def test_a_rehearsal_finds_what_the_key_says(batchscore: Cli, knowing: Running) -> None:
    key, env = AnswerKey(**KEY), {"BATCHSCORE_API_KEY": knowing.key}
    for name in ("small", "large"):
        assert batchscore(*score(knowing, name, name), env=env).exit_code == 0
    found = measured(batchscore, "small", "large")
    right = {}
    for name, model in zip(("small", "large"), found["models"], strict=True):
        styles = [key.style(name, text) for text in key.labels]
        ended = Counter(ENDS[style] for style in styles)
        assert model["outcomes"] == ended
        right[name] = np.array(
            [
                ENDS[style] == "answered" and key.label(name, text) == gold
                for style, (text, gold) in zip(styles, key.labels.items(), strict=True)
            ]
        )
        assert model["metrics"]["accuracy"]["value"] == pytest.approx(right[name].mean())
        assert model["coverage"] == ended["answered"] / 240
        assert model["cost"]["right"] == right[name].sum()
        assert model["cost"]["tokens_each_right"] == model["cost"]["tokens_billed"] / right[name].sum()
    wins = int((right["large"] & ~right["small"]).sum())
    losses = int((right["small"] & ~right["large"]).sum())
    compared = found["models"][1]["comparisons"]["accuracy"]
    assert (compared["wins"], compared["losses"]) == (wins, losses)
    assert compared["p_value"] == pytest.approx(mcnemar(wins, losses))


@pytest.mark.slow
@pytest.mark.usefixtures("tickets")
def test_a_killed_run_gives_the_same_bytes(batchscore: Cli, knowing: Running) -> None:
    env = {"BATCHSCORE_API_KEY": knowing.key}
    assert batchscore(*score(knowing, "small", "whole"), env=env).exit_code == 0
    slow = [*score(knowing, "small", "killed"), "--rpm", "1500"]
    with batchscore.start(*slow, env=env) as process:
        time.sleep(3)
        process.popen.kill()
        process.popen.wait()
    assert batchscore.killed
    assert batchscore(*score(knowing, "small", "killed"), env=env).exit_code == 0
    results = []
    for name in ("whole", "killed"):
        found = measured(batchscore, name, "--names", "m", "-o", f"e-{name}")
        table = pq.read_table(f"e-{name}/rows.parquet")
        (model,) = found["models"]
        results.append((table, model["metrics"], model["outcomes"], model["confusion_matrix"]))
        rows = Path(f"e-{name}/rows.parquet").read_bytes()
        again = measured(batchscore, name, "--names", "m", "-o", f"e-{name}")
        assert (again, Path(f"e-{name}/rows.parquet").read_bytes()) == (found, rows)
    assert results[0] == results[1]
    assert Path("e-whole/rows.parquet").read_bytes() == Path("e-killed/rows.parquet").read_bytes()


@pytest.mark.slow
def test_recorded_vectors_are_evaluated(batchscore: Cli, tickets: Path, knowing: Running) -> None:
    """A tenth of the vectors is that of another class, for queries and for what is learnt from."""
    env = {"BATCHSCORE_API_KEY": knowing.key}
    assert batchscore(*score(knowing, "v", "v", "embeddings"), env=env).exit_code == 0
    head, *rows = tickets.read_text("utf-8").splitlines(keepends=True)
    tickets.write_text("".join([head, *rows[::-1]]), "utf-8")
    assert batchscore(*score(knowing, "v", "learn", "embeddings"), env=env).exit_code == 0
    found = measured(batchscore, "v", "--train", "learn", "--as", "knn")
    wrong = sum(n % 10 == 0 and n % 3 != 1 for n in range(240))
    assert found["models"][0]["metrics"]["accuracy"]["value"] == pytest.approx(1 - wrong / 240)


def recorded(folder: Path, texts: Sequence[str], vectors: np.ndarray) -> Running:
    """Start a simulator with these vectors."""
    np.savez(folder / "vectors.npz", texts=np.array(texts), vectors=vectors.astype(np.float32))
    return start(vectors=str(folder / "vectors.npz"))


@pytest.mark.slow
def test_the_published_figure_of_a_model(batchscore: Cli, tmp_path: Path) -> None:
    """STS-B by all-MiniLM-L6-v2: MTEB publishes Spearman 0.82032473 and Pearson 0.82740642.

    The vectors have two dimensions and the recorded cosines, since only these matter.
    """
    kept = np.load(Path(__file__).parent / "published" / "stsb-test-minilm.npz")
    rows = [
        {"first": f"first text {number}", "second": f"second text {number}", "score": repr(score)}
        for number, score in enumerate(kept["scores"].tolist())
    ]
    write_input(Path("in") / "pairs.csv", rows)
    cosines = np.stack([kept["cosines"], np.sqrt(1 - np.minimum(1, kept["cosines"].astype(float) ** 2))], 1)
    texts = [*(row["first"] for row in rows), *(row["second"] for row in rows)]
    vectors = np.concatenate([np.tile([[1.0, 0.0]], (len(rows), 1)), cosines])
    with recorded(tmp_path, texts, vectors) as running:
        for name in ("first", "second"):
            where = ["--endpoint", running.endpoint, "--task", "embeddings", "-m", "minilm"]
            words = ["score", "in", "-o", name, *where, "--column", name, "--keep", "score"]
            done = batchscore(*words, env={"BATCHSCORE_API_KEY": running.key})
            assert done.exit_code == 0, done
    done = batchscore("evaluate", "first", "--pair", "second", "--label", "score", "--json")
    metrics = done.report["models"][0]["metrics"]
    assert metrics["cosine_spearman"]["value"] == pytest.approx(0.82032473, abs=1e-6)
    assert metrics["cosine_pearson"]["value"] == pytest.approx(0.82740642, abs=1e-6)


@pytest.mark.slow
@pytest.mark.alone
def test_the_published_figures_of_a_probe(batchscore: Cli, tmp_path: Path) -> None:
    """Banking77 by all-MiniLM-L6-v2: MTEB publishes accuracy 0.8004220779 and macro F1 0.7937884047.

    Texts that MTEB's protocol does not draw have any vectors.
    """
    pytest.importorskip("sklearn")
    with np.load(Path(__file__).parent / "published" / "banking77-minilm.npz") as kept:
        labels = {name: kept[name].tolist() for name in ("test", "train")}
        texts = [f"test {n}" for n in range(len(labels["test"]))] + [f"train {n}" for n in kept["drawn"]]
        vectors = (kept["high"] * 256.0 + kept["low"]) / 2**13
    with recorded(tmp_path, texts, vectors) as running:
        for name, codes in labels.items():
            rows = [{"text": f"{name} {n}", "label": f"label {code:02}"} for n, code in enumerate(codes)]
            source = write_input(Path(f"{name}.csv"), rows)
            where = ["--endpoint", running.endpoint, "--task", "embeddings", "-m", "minilm"]
            words = ["score", str(source), "-o", name, *where, "--column", "text", "--keep", "label"]
            done = batchscore(*words, env={"BATCHSCORE_API_KEY": running.key})
            assert done.exit_code == 0, done
    found = measured(batchscore, "test", "--train", "train")
    metrics = found["models"][0]["metrics"]
    assert found["task"] == "embedding-classification"
    assert metrics["accuracy"]["value"] == pytest.approx(0.8004220779, abs=5e-5)
    assert metrics["f1_score_macro"]["value"] == pytest.approx(0.7937884047, abs=5e-5)
