"""The command `batchscore check`: which errors are in the files for Azure ML? Offline."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from batchscore.cli.options import OneValueEach, local_path
from batchscore.cli.say import say, say_json
from batchscore.errors import ExitCode, count_text

CHECK_HELP = """Check files for Azure ML (endpoints, deployments, pipelines, schedules), offline.

PATH is a file, or a folder whose YAML files are checked. They are validated with azure-ai-ml, and
for errors that azure-ai-ml does not detect. Nothing is sent. To check an output, use
"batchscore verify"; to check settings and inputs before a run, "batchscore plan".

\b
  batchscore check deployment/

\b
Exit codes: 0 no errors; 1 errors, one per line; 2 usage error.
"""


@click.command(help=CHECK_HELP, short_help="Check files for Azure ML, offline.", cls=OneValueEach)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=local_path)
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object on standard output at the end.")
def check(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Run `batchscore check`."""
    from batchscore.azureml.check.check_files import check_files  # noqa: PLC0415 - loads a YAML parser

    checked = check_files(paths)
    if as_json:
        say_json(checked)
    elif checked.findings:
        say("\n".join(map(str, checked.findings)), err=True)
    else:
        say(f"No errors in {count_text(len(checked.files), 'file')}.")
    sys.exit(int(ExitCode.ACTION_NEEDED if checked.findings else ExitCode.DONE))
