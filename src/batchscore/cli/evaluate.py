"""The command `batchscore evaluate`: how good are scores, measured against labels?

It turns options into an evaluation, prints the result and writes its files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import orjson

from batchscore.cli.options import task_option
from batchscore.cli.say import say
from batchscore.errors import ExitCode, InputError, UsageError
from batchscore.stores import storage
from batchscore.stores.address import place_of

if TYPE_CHECKING:
    from batchscore.evaluate.evaluation import EvaluationSpec

EVALUATE_HELP = """Measure the scores in the output folders SCORES against labels.

\b
The labels are in a column of the input (--label), which is read again if the scores do not hold it,
or in a file of labels by id (--labels FILE --on id). Every row with a label counts: a row without
an answer is wrong. The figures of the answered rows, and how many these are, are shown beside.
Several SCORES are compared on the rows that all of them have. No request is sent.

\b
  batchscore evaluate scores/ --label topic
  batchscore evaluate scores/ --labels gold.csv --on id --label answer --as question-answering
  batchscore evaluate mini/ large/ --label topic --require 'accuracy>=0.9'

\b
Exit codes: 0 measured, and every requirement is met; 6 measured, and a requirement is not met;
1 error: fix SCORES, the input or the labels; 2 usage error.
"""


@click.command(help=EVALUATE_HELP, short_help="Measure scores against labels, and compare models.")
@click.argument("scores", nargs=-1, required=True)
@click.option("--label", metavar="COLUMN", help="Column with the labels, in the input or the file of labels.")
@click.option(
    "--labels",
    multiple=True,
    metavar="FILE|NAMES",
    help="File of labels by id, with --on; or the labels that rows may have, separated by commas. Default: "
    "the labels that occur.",
)
@click.option("--on", metavar="COLUMN", help="Column with the ids, in the file of labels and in the scores.")
@click.option(
    "as_task",
    "--as",
    metavar="TASK",
    help="What to measure, by Azure ML's names, such as "
    "text-classification, question-answering or text-summarization. Default: guessed, and shown.",
)
@task_option("The task whose scores to measure. Required if SCORES hold several.")
@click.option("--metric", multiple=True, metavar="NAME", help="Another metric. May be repeated.")
@click.option(
    "--pair", metavar="OUT", help="Scores of the second texts, for --as sts: vectors of the same input."
)
@click.option("--train", metavar="OUT", help="Scores that a linear probe of vectors learns from.")
@click.option("--field", metavar="NAME", help="Field of JSON answers that is the answer, as label or a.b.")
@click.option("--pattern", metavar="REGEX", help="What the answer in a text is: group 1 of the last match.")
@click.option("map_file", "--map", metavar="FILE", help='JSON file of other spellings: {"good": "positive"}.')
@click.option("--by", multiple=True, metavar="COLUMN", help="Show the main metric by value of this column.")
@click.option("--cluster", metavar="COLUMN", help="Rows with the same value depend on each other.")
@click.option(
    "--unanswered",
    type=click.Choice(["wrong", "exclude"]),
    default="wrong",
    help="How rows without an answer count.  [default: wrong]",
)
@click.option("--confidence", type=float, default=0.95, metavar="N", help="Of intervals.  [default: 0.95]")
@click.option("--resamples", type=int, default=2000, metavar="N", help="Resamples.  [default: 2000]")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the resamples.  [default: 0]")
@click.option("--names", metavar="A,B", help="Names of the models, in the order of SCORES. Default: SCORES.")
@click.option("--baseline", metavar="NAME", help="The model to compare with. Default: the first.")
@click.option(
    "--require",
    multiple=True,
    metavar="RULE",
    help="Exit with 6 unless this holds, such as 'accuracy>=0.9', 'coverage>=99%' or "
    "'f1_score_macro>=baseline-0.01'. May be repeated.",
)
@click.option(
    "-o",
    "--output",
    default="evaluation",
    metavar="OUT",
    help="Folder for results.  [default: evaluation]",
)
@click.option("--base-dir", metavar="FOLDER", help="Where the inputs are now. Default: where they were.")
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object on standard output at the end.")
def evaluate(scores: tuple[str, ...], *, as_json: bool, **chosen: Any) -> None:
    """Run `batchscore evaluate`."""
    from batchscore.cli.evaluation_table import evaluation_text  # noqa: PLC0415 - loads numpy
    from batchscore.evaluate import evaluation, write  # noqa: PLC0415
    from batchscore.evaluate.scored import open_scores  # noqa: PLC0415

    folder = place_of(chosen["output"])
    write.refuse_scores(folder)
    base_dir = None if chosen["base_dir"] is None else place_of(chosen["base_dir"])
    names = _names(scores, chosen["names"])
    spec = _spec(scores, names, chosen)
    pair, train = (
        None if chosen[name] is None else open_scores(place_of(chosen[name]), None, base_dir, chosen[name])
        for name in ("pair", "train")
    )
    spec = replace(spec, pair=pair, train=train)
    outputs = [
        (name, open_scores(place_of(named), chosen["task"], base_dir, named))
        for name, named in zip(names, scores, strict=True)
    ]
    with write.rows_file(folder) as write_row:
        result = evaluation.evaluate(outputs, spec, write_row)
    path = write.write_metrics(folder, result)
    if as_json:
        say(orjson.dumps(write.to_json(result)))
    else:
        say(f"{evaluation_text(result)}\n\nwritten: {path}, {folder / 'rows.parquet'}")
    sys.exit(int(ExitCode.DONE if result.is_good_enough else ExitCode.NOT_GOOD_ENOUGH))


def _names(scores: Sequence[str], given: str | None) -> list[str]:
    if given is None:
        return list(scores)
    names = [name.strip() for name in given.split(",")]
    if len(names) != len(scores) or not all(names):
        raise UsageError(f"--names has {len(names)} names for {len(scores)} SCORES. Give one name for each.")
    return names


def _spec(scores: Sequence[str], names: Sequence[str], chosen: dict[str, Any]) -> EvaluationSpec:
    """Return what the options ask for; raises `UsageError` or `InputError`."""
    from batchscore.evaluate.evaluation import EvaluationSpec  # noqa: PLC0415
    from batchscore.evaluate.figures import FigureOptions  # noqa: PLC0415
    from batchscore.evaluate.fold import Labels  # noqa: PLC0415
    from batchscore.evaluate.gates import requirement_of  # noqa: PLC0415
    from batchscore.evaluate.labels import LabelSource, read_labels  # noqa: PLC0415
    from batchscore.evaluate.statistics.intervals import Sampling  # noqa: PLC0415
    from batchscore.evaluate.tasks import task_named  # noqa: PLC0415

    if not 0 < chosen["confidence"] < 1:
        raise UsageError("--confidence must be between 0 and 1, such as 0.95.")
    if chosen["resamples"] < 1 or chosen["seed"] < 0:
        raise UsageError("--resamples must be 1 or more, and --seed 0 or more.")
    requirements = tuple(map(requirement_of, chosen["require"]))
    task = None if chosen["as_task"] is None else task_named(chosen["as_task"])
    files, listed = _files_and_names(chosen["labels"], chosen["on"])
    others = tuple(dict.fromkeys(name for name in (*chosen["by"], chosen["cluster"]) if name))
    if files:
        file = read_labels(files[0], chosen["on"], chosen["label"])
        source = LabelSource(chosen["label"] or "", file, others)
    elif chosen["label"] is None:
        raise UsageError("name the column with the labels: --label COLUMN, or --labels FILE --on id.")
    else:
        source = LabelSource(chosen["label"], None, others)
    return EvaluationSpec(
        source,
        task,
        Labels(listed, _spellings(chosen["map_file"])),
        FigureOptions(
            Sampling(chosen["confidence"], chosen["resamples"], chosen["seed"]),
            exclude=chosen["unanswered"] == "exclude",
            cluster=chosen["cluster"],
        ),
        chosen["field"],
        _pattern(chosen["pattern"]),
        chosen["by"],
        chosen["metric"],
        requirements,
        _baseline(scores, names, chosen["baseline"]),
    )


def _files_and_names(given: Sequence[str], on: str | None) -> tuple[list[str], list[str]]:
    """Return the files of labels, of which there may be one, and the names of labels."""
    files = [each for each in given if storage.exists(place_of(each))]
    names = [name.strip() for each in given if each not in files for name in each.split(",") if name.strip()]
    if len(files) > 1:
        raise UsageError(f"--labels names several files: {', '.join(files)}. Give one.")
    if on is not None and not files:
        raise InputError(f"--on needs a file of labels, and {', '.join(given) or 'none'} is no file.")
    if files and on is None:
        raise UsageError(f"--labels {files[0]} is a file: name its column of ids with --on.")
    return files, names


def _spellings(named: str | None) -> dict[str, str]:
    if named is None:
        return {}
    try:
        found = orjson.loads(b"".join(storage.chunks(place_of(named))))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise InputError(f'{named} is no JSON object of spellings, such as {{"good": "positive"}}.')
    return found


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise UsageError(f"--pattern is no regular expression: {error}.") from None


def _baseline(scores: Sequence[str], names: Sequence[str], given: str | None) -> int:
    if given is None:
        return 0
    for known in (names, scores, [each.rstrip("/") for each in scores]):
        if given in known:
            return known.index(given)
    raise UsageError(f"--baseline {given} is none of the models: {', '.join(names)}.")
