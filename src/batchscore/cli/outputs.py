"""The commands that read an output folder: `batchscore merge`, `verify` and `report`.

What they load beyond this is loaded when they run: readers of parts and numpy are slow to load.
"""

from __future__ import annotations

import sys
from functools import partial

import click

from batchscore.cli.options import OneValueEach, options_of, task_option
from batchscore.cli.say import bullets, say, say_json
from batchscore.errors import BatchscoreError, ExitCode, count_text
from batchscore.settings.declare import as_flag
from batchscore.stores.address import place_of

MERGE_HELP = """Write the scores of the output folder OUT to one FILE, in input order.

\b
FILE ends in .jsonl, .parquet or .arrow. Or it is a table of the input with its answers as columns,
and ends in .csv, .tsv or .xlsx: the input is read again, and must be as it was when it was scored.
Memory use does not grow with the number of rows.

\b
  batchscore merge scores/ embeddings.parquet
  batchscore merge answers/ answers.xlsx

\b
Exit codes: 0 merged; 4 merged, but the scores are not complete yet: resume the score command,
then merge again; 1 error: fix OUT or FILE; 2 usage error.
"""


@click.command(help=MERGE_HELP, short_help="Write the scores of a folder to one file.", cls=OneValueEach)
@click.argument("out")
@click.argument("file")
@task_option("The task to merge. Required if OUT holds several.")
@options_of({"csv_bom", "allow_formulas"})
@click.option(
    "--base-dir",
    metavar="FOLDER",
    help="For a table: the folder that the inputs are below now. Default: where they were.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--sync", is_flag=True, help="Force FILE to the disk (fsync) before the command ends.")
def merge(
    out: str,
    file: str,
    task: str | None,
    base_dir: str | None,
    *,
    overwrite: bool,
    sync: bool,
    **style: bool | None,
) -> None:
    """Run `batchscore merge`."""
    from batchscore.output.merge import merge_output  # noqa: PLC0415 - loads the readers of parts
    from batchscore.output.missing import AGAIN  # noqa: PLC0415
    from batchscore.output.tables.write import TableStyle, is_table  # noqa: PLC0415
    from batchscore.report.resume import named_command, step_to_complete  # noqa: PLC0415

    with named_command(place_of(out), task):
        merged = merge_output(
            place_of(out),
            place_of(file),
            task=task,
            overwrite=overwrite,
            style=TableStyle(**{name: bool(value) for name, value in style.items()}),
            base_dir=None if base_dir is None else place_of(base_dir),
            sync=sync,
        )
    in_table = is_table(place_of(file))
    counts = {"failed": merged.failed, "empty": merged.empty, "not scored yet": merged.unanswered}
    others = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if others:
        others = f" ({'of these' if in_table else 'without a score'}: {others})"
    note = f", {merged.note}" if merged.note else ""
    say(f"{merged.task}: {count_text(merged.rows, 'row' if in_table else 'score')} in {file}{others}{note}")
    if merged.missing:
        step = step_to_complete(place_of(out), merged.task) or AGAIN
        say(f"{file} is not complete:\n{bullets(merged.missing)}\n{step}", err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))


#: Of several tasks in an output, the worst result counts.
WORST_FIRST = (ExitCode.ACTION_NEEDED, ExitCode.OUTPUT_LOCKED, ExitCode.CONTINUE_LATER, ExitCode.DONE)

VERIFY_HELP = """Check row by row that the output folder OUT holds what its manifests say.

\b
With --repair, damaged and leftover files are removed. Then run the same score command
again to score the missing rows.

\b
  batchscore verify scores/

\b
Exit codes: 0 complete and correct; 4 correct, but incomplete: resume the score command;
1 damaged or missing parts, or an input file that is unreadable, changed or gone; 2 usage error;
5 a run is writing to OUT.
"""


@click.command(help=VERIFY_HELP, short_help="Check an output folder, and repair it.", cls=OneValueEach)
@click.argument("out")
@task_option("The task to check. Default: all tasks in OUT, and the exit code is the worst.")
@click.option("--repair", is_flag=True, help="Remove damaged and leftover files.")
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object on standard output at the end.")
def verify(out: str, task: str | None, *, repair: bool, as_json: bool) -> None:
    """Run `batchscore verify`."""
    from batchscore.output.verify import tasks_to_verify, verify_output  # noqa: PLC0415
    from batchscore.report.resume import step_after_check, step_again  # noqa: PLC0415

    tasks = tasks_to_verify(place_of(out), task)
    found, codes = [], []
    for each in tasks:
        try:
            result = verify_output(place_of(out), task=each, repair=repair, notice=partial(say, err=True))
        except BatchscoreError as error:
            if len(tasks) == 1:
                raise
            say(f"{each}: {error.text}", err=True)
            found.append({"exit_code": int(error.exit_code), "task": each})
            codes.append(error.exit_code)
            continue
        result.last.next_step = step_after_check(result)
        result.last.again = step_again(result) or result.last.again
        found.append(result.to_json(as_flag))
        codes.append(result.exit_code)
        if not as_json:
            say(result.to_text())
    worst = next((code for code in WORST_FIRST if code in codes), codes[0])
    if as_json:
        say_json(found[0] if len(tasks) == 1 else {"exit_code": int(worst), "tasks": found})
    sys.exit(int(worst))


REPORT_HELP = """Write OUT/report.html again, from the records, manifests and some scores in OUT.

\b
The page shows how the runs went and which problems there are, also for a job with many
workers. It is one file that works offline. It contains no text of the input.

\b
  batchscore report scores/

\b
Exit codes: 0 the page is written; 4 it is written, and the output is not complete: resume the score command;
1 no output, or it cannot be read or written; 2 usage error.
"""


@click.command(help=REPORT_HELP, short_help="Write the report page of an output.", cls=OneValueEach)
@click.argument("out")
@task_option("Show only this task. Default: all tasks in OUT.")
@click.option(
    "--no-vectors", is_flag=True, help="Read no scores: no map of the vectors, no lengths of answers."
)
def report(out: str, task: str | None, *, no_vectors: bool) -> None:
    """Run `batchscore report`."""
    from batchscore.report.page.make import refuse_incomplete, write_report  # noqa: PLC0415 - loads numpy
    from batchscore.report.page.sample import THOROUGHLY, WITHOUT_SAMPLE  # noqa: PLC0415
    from batchscore.report.resume import named_command  # noqa: PLC0415

    effort = WITHOUT_SAMPLE if no_vectors else THOROUGHLY
    say(f"report: {write_report(place_of(out), task=task, effort=effort)}")
    with named_command(place_of(out), task):
        refuse_incomplete(place_of(out), task)
