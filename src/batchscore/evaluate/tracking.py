"""How is an evaluation logged to MLflow: which keys, tags and files, and in which runs?

A run for each model, below one for the comparison if there are several. Keys hold only what MLflow takes and
are few, since Azure ML keeps 50 a run; what is not defined is left out. A server that fails costs a warning.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from batchscore.evaluate.evaluation import Evaluation, ModelResult
from batchscore.evaluate.gates import Gate
from batchscore.evaluate.statistics.compare import Comparison
from batchscore.evaluate.write import METRICS, PAGE, ROWS
from batchscore.report.tracking.child import (
    ENVIRONMENT,
    is_local,
    problem_text,
    refuse_lacking,
    without_password,
)
from batchscore.report.tracking.client import TrackingTarget
from batchscore.report.tracking.figures import LONGEST_TAG, fit_name, text_of
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.objects import open_parquet_part

#: How many metrics of a model are logged, how many of them with their intervals, and how many rows.
MOST_METRICS, MOST_INTERVALS, MOST_ROWS = 20, 5, 1000

#: The files of an evaluation that are logged as they are.
FILES = (PAGE, METRICS)

#: The table of rows, and its columns.
TABLE = "eval_results_table.json"
COLUMNS = ("file", "row", "id", "label", "answer", "outcome", "found_by")


def metrics_of(model: ModelResult, asked: Collection[str] = ()) -> dict[str, float]:
    """Return the keys and values of one model; the metrics that the user has `asked` for are first."""
    found: dict[str, float | None] = {"coverage": model.coverage, "example_count": float(len(model.rows))}
    ordered = sorted(model.figures.items(), key=lambda item: item[0] not in asked)
    for place, (name, figure) in enumerate(ordered[:MOST_METRICS]):
        key = f"{name}_of_answered" if figure.unanswered == "excluded" else name
        found[key] = figure.value
        if place < MOST_INTERVALS:
            found |= {f"{key}_ci_low": figure.low, f"{key}_ci_high": figure.high}
        if figure.unanswered == "withheld":
            found[f"{name}_of_answered"] = figure.of_answered
    cost = model.cost
    found |= {"tokens_each_right": cost.tokens_each_right, "cost_each_right": cost.money_each_right}
    return {fit_name(name): float(value) for name, value in found.items() if value is not None}


def comparison_of(metric: str, found: Comparison, baseline: str) -> dict[str, float]:
    """Return the keys and values of a comparison with a baseline run, named as MLflow's own comparisons."""
    values: dict[str, float | None] = {
        "diff": found.difference,
        "ci_low": found.low,
        "ci_high": found.high,
        "p_value": found.p_value,
        "n_paired": found.rows,
    }
    wins, losses = found.wins or 0, found.losses or 0
    mean, square = (wins - losses) / found.rows, (wins + losses) / found.rows
    if found.method == "mcnemar" and square > mean**2:
        values["effect_size"] = mean / (square - mean**2) ** 0.5
    return {
        fit_name(f"compare/{baseline[:8]}/{metric}/{name}"): float(each)
        for name, each in values.items()
        if each is not None
    }


def confusion_json(model: ModelResult, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return a confusion matrix as Azure ML's studio shows it; the last column is none of the labels."""
    assert model.confusion is not None
    matrix = [*model.confusion.tolist(), [0] * (len(labels) + 1)]
    data = {"class_labels": [*labels, "(none)"], "matrix": matrix}
    return {"schema_type": "confusion_matrix", "schema_version": "1.0.0", "data": data}


def log(evaluation: Evaluation, folder: Place, target: TrackingTarget) -> str:
    """Log an evaluation whose files are in a folder; return a sentence: where, or what went wrong."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # At the end of a run MLflow prints its address, which may hold a password, also among our JSON.
    silent, uri = redirect_stdout(io.StringIO()), "-"
    try:
        import mlflow  # noqa: PLC0415 - it takes a second

        if target.uri is not None:
            mlflow.set_tracking_uri(target.uri)
        uri = str(mlflow.get_tracking_uri())
        refuse_lacking(uri)
        client, run_id, end = mlflow.MlflowClient(), target.run_id, _leave
        if run_id is None:
            tags = {"mlflow.source.name": "batchscore"}
            run_id = mlflow.start_run(run_name="batchscore evaluate", tags=tags).info.run_id
            end = mlflow.end_run
        named = target.uri is not None or bool(os.environ.get("MLFLOW_TRACKING_URI", "").strip())
        with silent, _ended(end), tempfile.TemporaryDirectory(prefix="batchscore-evaluation-") as made:
            parent = client.get_run(run_id)
            if named or is_local(parent.info.artifact_uri or ""):
                _log(client, evaluation, folder, parent, Path(made))
                return f"MLflow tracks this as run {run_id} at {without_password(uri)}."
        problem = (
            "the store in the working folder names another host for files; set MLFLOW_TRACKING_URI to it"
        )
    except Exception as error:
        problem = problem_text(error, uri)
    return f"MLflow tracking failed; the evaluation is in {folder}: {problem}"


def _leave(_: str) -> None:
    """Leave a run as it is: somebody else has started it."""


@contextmanager
def _ended(end: Callable[[str], Any]) -> Iterator[None]:
    """End a run after the block with the status that MLflow shows, also if that fails or is interrupted."""
    try:
        yield
    except BaseException as error:
        with suppress(Exception):
            end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    end("FINISHED")


def _log(client: Any, evaluation: Evaluation, folder: Place, parent: Any, made: Path) -> None:
    """Log the comparison, and each model in a run below it; one model alone is logged in the run itself."""
    for name in FILES:
        path = made / name
        path.write_bytes(b"".join(storage.chunks(folder / name)))
        client.log_artifact(parent.info.run_id, str(path))
    baseline = ""
    several = len(evaluation.models) > 1
    if several:
        client.log_batch(parent.info.run_id, tags=_tags(_verdict(evaluation.gates)))
    order = [evaluation.baseline, *(n for n in range(len(evaluation.models)) if n != evaluation.baseline)]
    for number in order:
        model, run = evaluation.models[number], parent
        if several:
            tags = {"mlflow.parentRunId": parent.info.run_id}
            run = client.create_run(parent.info.experiment_id, tags=tags, run_name=model.name)
        own = run.info.run_id
        baseline = baseline or own
        with _ended(partial(client.set_terminated, own) if several else _leave):
            _log_model(client, evaluation, number, own, baseline)
            for path in _files(evaluation, number, folder, made / str(number), baseline):
                below = path.parent.name if path.parent.name == "compare" else None
                client.log_artifact(own, str(path), below)


def _log_model(client: Any, evaluation: Evaluation, number: int, run: str, baseline: str) -> None:
    model = evaluation.models[number]
    values = metrics_of(model, evaluation.reading.metrics)
    compared = model.comparisons.get(evaluation.main)
    if compared is not None:
        values |= comparison_of(evaluation.main, compared, baseline)
    tags = {
        "batchscore.evaluation.task": evaluation.task.name,
        "batchscore.evaluation.scores": model.output.named,
        "batchscore.evaluation.digest": model.output.digest,
        "batchscore.evaluation.model": model.output.model,
        "batchscore.evaluation.label": evaluation.label,
        **_verdict([gate for gate in evaluation.gates if gate.model == model.name]),
        "batchscore.simulated": str(model.output.simulated).lower(),
        # So that MLflow shows the table of rows, and compares those of several runs.
        "mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}]),
    }
    from mlflow.entities import Metric  # noqa: PLC0415 - it takes a second

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in values.items()]
    client.log_batch(run, metrics=metrics, tags=_tags(tags))


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag  # noqa: PLC0415 - it takes a second

    return [RunTag(name, text_of(text, LONGEST_TAG)) for name, text in tags.items()]


def _verdict(gates: Sequence[Gate]) -> dict[str, str]:
    """Return the tag that says whether requirements are met, if there are any."""
    met = str(all(gate.met for gate in gates)).lower()
    return {"batchscore.evaluation.good_enough": met} if gates else {}


def _files(evaluation: Evaluation, number: int, folder: Place, made: Path, baseline: str) -> Iterator[Path]:
    """Write the files of one model, and yield their paths."""
    made.mkdir()
    model, labels = evaluation.models[number], evaluation.labels
    yield _json(made / TABLE, _table(evaluation, number, folder))
    if model.confusion is not None:
        yield _json(made / "confusion_matrix.json", confusion_json(model, labels))
    if model.classes is not None:
        path = made / "per_class_metrics.csv"
        with path.open("w", encoding="utf-8", newline="") as sink:
            writer = csv.writer(sink)
            writer.writerow(["label", *model.classes])
            columns = [values.tolist() for values in model.classes.values()]
            writer.writerows(zip(labels, *columns, strict=True))
        yield path
    compared = {name: asdict(each) for name, each in model.comparisons.items() if each is not None}
    if compared:
        (made / "compare").mkdir()
        yield _json(made / "compare" / f"{baseline[:8]}.json", compared)


def _json(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False, default=str), "utf-8")
    return path


def _table(evaluation: Evaluation, number: int, folder: Place) -> dict[str, Any]:
    """Return the first rows of one model, as MLflow shows tables."""
    start = sum(model.counts.labelled for model in evaluation.models[:number])
    left = min(MOST_ROWS, evaluation.models[number].counts.labelled)
    rows: list[list[Any]] = []
    with open_parquet_part(folder / ROWS) as file:
        for batch in file.iter_batches(columns=list(COLUMNS), use_threads=False):
            some = batch.slice(min(start, len(batch)), left - len(rows)).to_pylist()
            rows += [[row[name] for name in COLUMNS] for row in some]
            start = max(0, start - len(batch))
            if len(rows) == left:
                break
    return {"columns": list(COLUMNS), "data": rows}
