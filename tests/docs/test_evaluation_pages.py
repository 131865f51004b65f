"""The commands of the pages on evaluation, in order, in a folder with what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from evaluated import write_input, write_scores
from written import EVALUATION, blocks_of, rehearsal, shown_files

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = pytest.mark.process

GUIDE, MODELS = EVALUATION
TOPICS = ("billing", "delivery", "account")


def tickets(count: int) -> list[dict[str, str]]:
    return [
        {
            "id": f"t{n}",
            "text": f"This is about {TOPICS[n % 3]}, number {n}.",
            "topic": TOPICS[n % 3],
            "language": ("en", "de")[n % 2],
        }
        for n in range(count)
    ]


def outputs(folder: Path) -> None:
    """Write outputs of three models, and of vectors of queries and documents."""
    rows = tickets(60)
    source = write_input(folder / "in" / "tickets.csv", rows)
    write_input(folder / "gold.csv", [{"id": row["id"], "answer": row["topic"]} for row in rows])
    answers = [row["topic"] for row in rows]
    kept: Any = {"keep": ["topic", "language"], "id_column": "id"}
    for name, wrong in (("scores", 0), ("mini", 9), ("large", 2), ("tuned", 4)):
        write_scores(folder / name, source, ["account"] * wrong + answers[wrong:], **kept)
    vectors: Sequence[Any] = [*np.eye(4, dtype=np.float32)]
    names = write_input(folder / "d" / "d.csv", [{"id": f"d{n}"} for n in range(4)])
    for name in ("queries", "documents"):
        write_scores(folder / name, names, vectors, id_column="id", task="embeddings")
    relevant = "query-id\tcorpus-id\tscore\nd1\td1\t1\nd2\td3\t1\n"
    (folder / "qrels.tsv").write_text(relevant, "utf-8")


@pytest.mark.slow
def test_the_commands_of_the_guide_run(command_line: Cli, tmp_path: Path) -> None:
    outputs(tmp_path)
    for block in blocks_of(GUIDE, "sh"):
        for line in block.lines:
            done = command_line(*rehearsal(line), cwd=tmp_path)
            assert done.exit_code == 0, done.said


@pytest.mark.slow
def test_the_way_from_a_model_to_a_decision(batchscore: Cli, tmp_path: Path) -> None:
    """The simulator stands in for each server; a rehearsal leaves out the flags of the endpoint."""
    write_input(tmp_path / "tickets.csv", tickets(45))
    write_input(tmp_path / "train.csv", [{**row, "text": f"{row['text']} Before."} for row in tickets(30)])
    for name, text in shown_files(MODELS).items():
        (tmp_path / name).write_text(text, "utf-8")
    for block in blocks_of(MODELS, "sh"):
        for line in block.lines:
            done = batchscore(*rehearsal(line), cwd=tmp_path)
            assert done.exit_code == 0, done.said
    for name in ("comparison", "vectors", "decision"):
        assert (tmp_path / name / "evaluation.html").exists()
