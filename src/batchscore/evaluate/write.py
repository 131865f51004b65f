"""How is an evaluation kept: metrics.json, and a row for each labelled row in rows.parquet?

The same inputs, settings and seed give the same bytes: nothing in them says when or where they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from batchscore.errors import BatchscoreError, OutputError
from batchscore.evaluate.evaluation import Evaluation, ModelResult, Write
from batchscore.evaluate.fold import text_of
from batchscore.evaluate.measure import EvaluatedRow
from batchscore.output.layout import MARKER
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.half_written import sweep_abandoned
from batchscore.stores.objects import open_arrow_file, open_parquet_part
from batchscore.version import VERSION

#: The schema of metrics.json.
SCHEMA_VERSION = 1

#: The figures, which are written last, and the page.
METRICS, PAGE = "metrics.json", "evaluation.html"

#: The table of rows, and its columns.
ROWS = "rows.parquet"
COLUMNS = (
    *("model", "file", "row", "id", "label", "answer", "outcome", "found_by", "text"),
    *("scores", "columns", "measured"),
)

#: Rows of a group, all but the last.
ROWS_PER_GROUP = 10_000


def refuse_others(folder: Place) -> None:
    """Raise `OutputError` if an evaluation would be written among scores, or in place of files of others."""
    if isinstance(folder, Path) and folder.is_file():
        raise OutputError(f"{folder} is a file. Choose a folder for the evaluation.")
    if storage.exists(folder / MARKER) or storage.exists(folder / "manifest"):
        raise OutputError(f"{folder} is an output of scores. Choose another folder for the evaluation.")
    for name, mark in ((METRICS, b'"batchscore"'), (PAGE, b"batchscore"), (ROWS, None)):
        path = folder / name
        if storage.exists(path) and not (
            _is_table(path) if mark is None else mark in b"".join(storage.chunks(path))
        ):
            raise OutputError(
                f"{path} was not written by batchscore. Choose another folder for the evaluation."
            )


@contextmanager
def earlier_named(folder: Place) -> Iterator[None]:
    """Let an error of the block say that a folder holds an earlier evaluation, which nobody may mistake."""
    try:
        yield
    except BatchscoreError as error:
        if storage.exists(folder / METRICS):
            text = error.text if error.text.endswith(("?", ".")) else f"{error.text}."
            error.text = f"{text} The files in {folder} are of an earlier evaluation."
        raise


def _is_table(path: Place) -> bool:
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(open_arrow_file(path)) as file:
            return tuple(file.schema_arrow.names) in {COLUMNS, COLUMNS[:-1]}  # once without `measured`
    except pa.ArrowInvalid:
        return False


def write_metrics(folder: Place, evaluation: Evaluation) -> Place:
    """Write metrics.json and return its place; raises `OutputError`."""
    path = folder / METRICS
    text = orjson.dumps(to_json(evaluation), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    storage.write_whole(path, text)
    return path


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON. A figure that is not defined is null, never NaN."""
    options = evaluation.options
    return {
        "version": SCHEMA_VERSION,
        "batchscore": VERSION,
        "numpy": np.__version__,
        "task": evaluation.task.name,
        "task_guessed": evaluation.guessed,
        "label": evaluation.label,
        "main_metric": evaluation.main,
        "definition": evaluation.task.definition,
        "signatures": dict(evaluation.models[0].rows.signatures),
        "labels": list(evaluation.labels),
        "rows": evaluation.rows,
        "unanswered": "exclude" if options.exclude else "wrong",
        "confidence": options.sampling.confidence,
        "resamples": options.sampling.resamples,
        "seed": options.sampling.seed,
        "cluster": options.cluster,
        "baseline": evaluation.models[evaluation.baseline].name,
        "detectable_difference": evaluation.detectable,
        "notices": list(evaluation.notices),
        "models": [_model(each) for each in evaluation.models],
        "requirements": [asdict(each) for each in evaluation.gates],
        "good_enough": evaluation.is_good_enough if evaluation.gates else None,
    }


def _model(result: ModelResult) -> dict[str, Any]:
    output = result.output
    classes = result.classes
    return {
        "name": result.name,
        "scores": output.named,
        "model": output.model,
        "simulated": output.simulated,
        "digest": output.digest,
        "coverage": result.coverage,
        "metrics": {name: asdict(figure) for name, figure in result.figures.items()},
        "outcomes": dict(result.outcomes),
        "notices": list(result.notices),
        "answers_cut": result.cut,
        "labels_found_by": dict(result.hows),
        "join": asdict(result.counts)
        | {
            "labelled": result.counts.labelled,
            "not_in_other_outputs": result.only_here,
            "failed_not_in_other_outputs": result.failed_here,
        },
        "cost": asdict(result.cost),
        "comparisons": {
            name: None if each is None else asdict(each) | {"ties": each.ties}
            for name, each in result.comparisons.items()
        },
        "slices": [
            {"column": each.column, "of": each.of, "metric": each.metric, **asdict(each.figure)}
            for each in result.slices
        ],
        "per_class": None if classes is None else {name: values.tolist() for name, values in classes.items()},
        "confusion_matrix": None if result.confusion is None else _lines(result.confusion),
    }


def _lines(matrix: npt.NDArray[Any]) -> list[orjson.Fragment]:
    """Return the rows of a matrix, each in one line: with hundreds of labels it would be a hundred MB."""
    return [orjson.Fragment(orjson.dumps(row)) for row in matrix.tolist()]


@contextmanager
def rows_file(folder: Place, columns: Sequence[str] = ()) -> Iterator[Write]:
    """Give what writes one row of one model to rows.parquet, which is there once all are written.

    `columns` of the input are in it, too. Files of an earlier evaluation go first, so that a folder never
    holds those of two: if the process is killed before the others are written, they are missing.
    """
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s
    import pyarrow.parquet as pq  # noqa: PLC0415

    text = pa.string()
    others = {"row": pa.int64(), "scores": pa.map_(text, pa.float64()), "columns": pa.map_(text, text)}
    others["measured"] = pa.bool_()
    schema = pa.schema({name: others.get(name, text) for name in COLUMNS})
    waiting: list[Mapping[str, Any]] = []

    sweep_abandoned(folder)
    with _not_left_empty(folder), storage.replace_file(folder / ROWS) as sink:
        with pq.ParquetWriter(sink, schema) as writer:

            def flush() -> None:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting.clear()

            def write(model: str, row: EvaluatedRow) -> None:
                waiting.append({"model": model, **_cells(row, columns)})
                if len(waiting) == ROWS_PER_GROUP:
                    flush()

            yield write
            flush()
        sink.close()
        for name in (METRICS, PAGE):
            storage.remove(folder / name)


def mark_left_out(folder: Place, evaluation: Evaluation) -> None:
    """Say in rows.parquet which rows do not count, since other models have not got them."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not any(each.only_here for each in evaluation.models):
        return
    counted, start = np.zeros(sum(each.counts.labelled for each in evaluation.models), np.bool_), 0
    for each in evaluation.models:
        counted[start + each.rows.positions] = True
        start += each.counts.labelled
    start = 0
    with open_parquet_part(folder / ROWS) as file, storage.replace_file(folder / ROWS) as sink:
        with pq.ParquetWriter(sink, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=False)
                column = pa.array(counted[start : start + len(table)])
                writer.write_table(table.set_column(len(COLUMNS) - 1, COLUMNS[-1], column))
                start += len(table)
        sink.close()


@contextmanager
def _not_left_empty(folder: Place) -> Iterator[None]:
    """Remove the folder, and those above it, if the block fails and they are new."""
    made = (
        []
        if isinstance(folder, StoredPath)
        else [each for each in (folder, *folder.parents) if not each.exists()]
    )
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for each in made:
                each.rmdir()
        raise


def _cells(row: EvaluatedRow, columns: Sequence[str]) -> dict[str, Any]:
    scored, outcome = row.row.scored, row.outcome
    answer = outcome.value if isinstance(outcome.value, str) or outcome.value is None else outcome.text
    return {
        "file": scored.file,
        "row": scored.row,
        "id": scored.id,
        "label": row.gold,
        "answer": answer,
        "outcome": outcome.name,
        "found_by": outcome.how if outcome.is_answered else None,
        # What gave no label is what a user reads first; other texts are their answers.
        "text": None if outcome.text == answer else outcome.text,
        "scores": [*row.scores.items()],
        "columns": [(name, text_of(scored.values.get(name))) for name in columns],
        "measured": True,  # until it is known which rows all models have
    }
