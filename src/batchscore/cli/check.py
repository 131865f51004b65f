"""The command `batchscore check`: what is wrong in Azure ML's files, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from batchscore.cli.say import say
from batchscore.errors import ExitCode

CHECK_HELP = """Check Azure ML's files (endpoints, deployments, pipelines, schedules), offline.

PATH is a file, or a folder whose YAML files are checked. They are held against azure-ai-ml and
against what it lets pass; nothing is sent.

\b
  batchscore check deployment/

\b
Exit codes: 0 nothing is wrong; 1 something is, each a line; 2 wrong usage.
"""


@click.command(help=CHECK_HELP, short_help="Check Azure ML's files, offline.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("as_json", "--json", is_flag=True, help="End with one JSON object on standard output.")
def check(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Run `batchscore check`."""
    from batchscore.azureml.check.check_files import check_files, to_json  # noqa: PLC0415 - it brings in a YAML parser

    checked = check_files(paths)
    if as_json:
        say(orjson.dumps(to_json(checked)))
    elif checked.findings:
        say("\n".join(map(str, checked.findings)), err=True)
    else:
        say(f"Nothing is wrong in {len(checked.files)} files.")
    sys.exit(int(ExitCode.ACTION_NEEDED if checked.findings else ExitCode.DONE))
