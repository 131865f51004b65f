"""The command `batchscore evaluate`: how good are scores, measured against labels?

It turns options into an evaluation, prints the result and writes its files.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from batchscore.cli.options import CONFIG_HELP, OneValueEach, options_of, task_option
from batchscore.cli.say import say, say_json
from batchscore.errors import ExitCode, count_text
from batchscore.stores.address import place_of

EVALUATE_HELP = """Measure the scores in the output folders SCORES against labels.

\b
The labels are in a column of the input (--label), which is read again if the scores do not hold it,
or in a file of labels by id (--labels FILE --on id). Every row with a label counts: a row without an
answer counts as the worst one. The figures of the answered rows, and how many, are shown beside.
Several SCORES are compared on the rows that all of them have. No request is sent.
The table [evaluate] of batchscore.toml may hold options, such as label = "topic".

\b
  batchscore evaluate scores/ --label topic
  batchscore evaluate scores/ --labels gold.csv --on id --label answer --as question-answering
  batchscore evaluate mini/ large/ --label topic --require 'accuracy>=0.9'
  batchscore evaluate queries/ --documents documents/ --qrels qrels.tsv

\b
Exit codes: 0 measured, and every requirement is met; 6 measured, and a requirement is not met;
1 error: fix SCORES, the input or the labels; 2 usage error. SCORES that are not complete are measured,
too, and named with the command that completes them: --require 'coverage>=100%' refuses them.
"""


#: How the file of labels or relevances is read; the input is read as it was scored.
OF_FILES = ("encoding", "delimiter", "quote", "escape", "no_header", "skip_lines", "records", "sheet")


def use_table(ctx: click.Context, option: click.Parameter, named: str | None) -> None:
    """Take the table [evaluate] of the settings file as defaults."""
    from batchscore.cli.evaluation_spec import use_config  # noqa: PLC0415 - loads numpy

    use_config(ctx, option, named)


@click.command(
    help=EVALUATE_HELP, short_help="Measure scores against labels, and compare models.", cls=OneValueEach
)
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
    "--pair",
    multiple=True,
    metavar="OUT",
    help="Scores of the second texts, for --as sts: vectors of the same input. Once for all "
    "SCORES, or for each.",
)
@click.option(
    "--train",
    multiple=True,
    metavar="OUT",
    help="Scores that a linear probe, or --as knn, learns from. Once for all SCORES, or for each.",
)
@click.option(
    "--documents",
    multiple=True,
    metavar="OUT",
    help="Scores of the documents that are ranked for the queries in SCORES. Once for all, or for each.",
)
@click.option("--qrels", metavar="FILE", help="Relevant documents of each query: TREC's lines, or a table.")
@click.option(
    "--ignore-identical-ids",
    is_flag=True,
    help="Do not rank the document that has the id of the query, as for duplicates of questions.",
)
@options_of(OF_FILES)
@click.option(
    "--field",
    metavar="NAME",
    help="Field of JSON answers that is the answer, as label or a.b. A label may still be in a text without "
    "JSON.",
)
@click.option(
    "--pattern",
    metavar="REGEX",
    help="What the answer in a text is: group 1 of the last match. No other way is tried.",
)
@click.option("map_file", "--map", metavar="FILE", help='JSON file of other spellings: {"good": "positive"}.')
@click.option("--by", multiple=True, metavar="COLUMN", help="Show the main metric by value of this column.")
@click.option("--show", multiple=True, metavar="COLUMN", help="Show this column of rows in the page.")
@click.option("--cluster", metavar="COLUMN", help="Rows with the same value depend on each other.")
@click.option(
    "--unanswered",
    type=click.Choice(["wrong", "exclude"]),
    default="wrong",
    help="How rows without an answer count: as the worst answer, or not at all.  [default: wrong]",
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
@click.option(
    "--track/--no-track",
    default=None,
    help="Log the evaluation to MLflow. Default: the setting track; without it, "
    "only if a run of MLflow is active.",
)
@click.option("--base-dir", metavar="FOLDER", help="Where the inputs are now. Default: where they were.")
@click.option(
    "--config", metavar="FILE", is_eager=True, expose_value=False, callback=use_table, help=CONFIG_HELP
)
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object on standard output at the end.")
def evaluate(scores: tuple[str, ...], *, as_json: bool, **chosen: Any) -> None:
    """Run `batchscore evaluate`."""
    from batchscore.cli.evaluation_spec import names_of, spec_of  # noqa: PLC0415 - loads numpy
    from batchscore.cli.evaluation_table import evaluation_text  # noqa: PLC0415
    from batchscore.evaluate import evaluation, write  # noqa: PLC0415
    from batchscore.evaluate.page.make import write_page  # noqa: PLC0415
    from batchscore.evaluate.scored import open_scores  # noqa: PLC0415
    from batchscore.evaluate.tracking import log  # noqa: PLC0415
    from batchscore.output.missing import AGAIN  # noqa: PLC0415
    from batchscore.report.resume import step_to_complete  # noqa: PLC0415
    from batchscore.report.tracking.client import find_target  # noqa: PLC0415

    folder = place_of(chosen["output"])
    write.refuse_others(folder)
    with write.earlier_named(folder):
        base_dir = None if chosen["base_dir"] is None else place_of(chosen["base_dir"])
        names = names_of(scores, chosen["names"])
        spec = spec_of(scores, names, base_dir, chosen)
        outputs = [
            (name, open_scores(place_of(named), chosen["task"], base_dir, named))
            for name, named in zip(names, scores, strict=True)
        ]
        with write.rows_file(folder, spec.source.others) as write_row:
            result = evaluation.evaluate(outputs, spec, write_row)
        write.mark_left_out(folder, result)
        made = write_page(folder, result)
        path = write.write_metrics(folder, result)
    target = find_target(os.environ, wanted=chosen["track"])
    if target is not None:
        click.echo(log(result, folder, target), err=True)
    if as_json:
        say_json(write.to_json(result))
    else:
        say(f"{evaluation_text(result)}\n\nwritten: {path}, {folder / 'rows.parquet'}, {made}")
    for model in result.models:
        if missing := model.outcomes.get("not_reached", 0):
            step = step_to_complete(place_of(model.output.named), model.output.layout.task) or AGAIN
            rows = count_text(missing, "labelled row")
            say(f"{model.output.named} is not complete: {rows} not scored yet. {step}", err=True)
    sys.exit(int(ExitCode.DONE if result.is_good_enough else ExitCode.NOT_GOOD_ENOUGH))
