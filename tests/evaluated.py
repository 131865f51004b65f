"""Outputs to evaluate: real inputs, records and manifests, without a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from batchscore.cli.main import cli
from batchscore.errors import BatchscoreError, ErrorCode
from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest, PartFile, write_manifest
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.read.files import digest
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.storage import write_whole

#: What a row may have in place of an answer.
FAILED = RowError(ErrorCode.TIMEOUT, "no answer in time")


def write_input(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a csv file whose columns are those of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_scores(
    out: Path,
    source: Path,
    answers: Sequence[Any],
    *,
    keep: Sequence[str] = (),
    id_column: str | None = None,
    task: str = "chat",
    read: int | None = None,
) -> Path:
    """Write an output with the answers to the rows of a csv file.

    An answer is a `Score`, a `RowError`, a value, or `...` for a row that was not reached. `read`: the run
    was stopped after this many rows.
    """
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    layout, chosen = Layout(out, task, ".jsonl"), format_named("jsonl")
    first = next((each for each in answers if isinstance(each, np.ndarray)), None)
    schema = RecordSchema(
        task,
        with_id=id_column is not None,
        keep=tuple(keep),
        dimensions=None if first is None else len(first),
    )
    settled = []
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if answer is ...:
            continue
        reason = None if task == "embeddings" else "stop"
        result = answer if isinstance(answer, (Score, RowError)) else Score(answer, reason)
        row_id = None if id_column is None else row[id_column] or None
        settled.append(Settled(source.name, number, result, row_id, {name: row[name] for name in keep}))
    parts: dict[str, PartFile | None] = {}
    for kind, folder, encode in (
        (Score, layout.scores, chosen.encode_scores),
        (RowError, layout.errors, chosen.encode_errors),
    ):
        those = [each for each in settled if isinstance(each.result, kind)]
        name = layout.part_name(source.name, 0)
        written = write_whole(folder / name, encode(those, schema)) if those else None
        parts[kind.__name__] = None if written is None else PartFile(name, written.bytes, written.digest)
    scored = sum(isinstance(each.result, Score) for each in settled)
    commit = Commit(
        part=0,
        rows=len(rows) if read is None else read,
        ok=scored,
        errors=len(settled) - scored,
        transient=0,
        whole=read is None,
        inputs="",
        attempts=len(settled),
        tokens_billed=10 * len(settled),
        scores=parts["Score"],
        error_records=parts["RowError"],
    )
    reading = {"keep": list(keep), "id": id_column}
    fingerprint = {"format": "jsonl", "rows_per_part": 1_000_000, "deployment": out.name, **reading}
    complete = len(settled) == len(rows)
    manifest = Manifest(
        source.name,
        task,
        fingerprint,
        input=digest(source),
        state="complete" if complete else "partial",
        problem="" if complete else "stopped",
        parts={0: commit},
    )
    write_manifest(layout.manifest(source.name), manifest)
    return out


def write_vectors(
    folder: Path, rows: Sequence[Mapping[str, str]], answers: Sequence[Any], **more: Any
) -> Path:
    """Write an input and its vectors; `more` is for `write_scores`."""
    source = write_input(folder / "in.csv", rows)
    return write_scores(folder / "scores", source, answers, task="embeddings", **more)


def run(*words: str | Path, error: type[BatchscoreError] | None = None) -> Result:
    """Evaluate with few resamples, unless the words say otherwise."""
    few = () if "--resamples" in words else ("--resamples", "20")
    done = CliRunner().invoke(cli, ["evaluate", *map(str, words), *few])
    if error is not None:
        assert isinstance(done.exception, error), done.exception
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def measured(out: Path, *words: str | Path) -> Any:
    run(*words, "-o", out)
    return json.loads((out / "metrics.json").read_text("utf-8"))
