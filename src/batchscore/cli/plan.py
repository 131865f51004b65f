"""The command `batchscore plan`: what would a run do and cost?"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from batchscore.cli.options import ALL, GroupedHelp, config_option, options_of
from batchscore.cli.say import say, say_json
from batchscore.cli.settings_file import settings_file
from batchscore.cli.standard_input import input_files
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.sources import gather, parse_param_flags, unread_variables

PLAN_HELP = """Show what "batchscore score" would do with INPUT, at no cost.

\b
Shows rows, empty, oversized and unreadable rows, tokens, requests, the duration at the
given limits (or at several), the size of the output, and the cost if prices are given.
The flags are those of score. Nothing is sent, written or locked. No endpoint and no key
is needed; -o is only needed to see what an output holds already.

\b
  batchscore plan data/ --task embeddings -m text-embedding-3-small --column text --tpm 350000
  batchscore plan data/ -o scores/ --task chat -m gpt-4o-mini --column text \\
      --max-tokens 200 --prices prices.toml

\b
Very large inputs are sampled, and the plan says so; --exact reads everything.

\b
Exit codes: 0 planned; 1 error: fix input, output or settings, also if some files cannot be
scored; 2 usage error; 4 interrupted.
"""

#: Takes the place of the output if none is given; nothing is read there.
NOWHERE = "nowhere"


@click.command(help=PLAN_HELP, short_help="Show what a run would do and cost, at no cost.", cls=GroupedHelp)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@options_of(ALL, optional={"output"})
@config_option
@click.option("as_json", "--json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--exact", is_flag=True, help="Read all files completely, however large they are.")
def plan(inputs: tuple[str, ...], config: str | None, *, as_json: bool, exact: bool, **flags: Any) -> None:
    """Run `batchscore plan`."""
    if not inputs:
        raise click.UsageError("INPUT is missing: name a file, a folder or a glob.")
    flags["param"] = parse_param_flags(flags.get("param") or ())
    file = settings_file(config, flags)
    said, _ = gather(flags, environ=os.environ, file=file)
    with_output = said.get("output") not in {None, "-"}
    if not with_output:
        flags["output"] = NOWHERE
    settings = resolve_settings(flags, environ=os.environ, config=file).settings
    from rich.console import Console  # noqa: PLC0415 - slow to load

    from batchscore.cli.plan_table import show, to_json  # noqa: PLC0415
    from batchscore.plan.make import plan_files  # noqa: PLC0415 - loads pyarrow

    for sentence in unread_variables(settings, os.environ):
        say(sentence, err=True)
    with Console(stderr=True).status("Reading ..."), input_files(inputs, settings) as files:
        made = plan_files(settings, files, with_output=with_output, exactly=exact)
    if as_json:
        say_json(to_json(made))
        sys.exit(int(made.exit_code))
    console = Console(highlight=False)
    with console.capture() as capture:
        show(made, console)
    # Tables pad their last column; a style ends behind the padding.
    say(
        re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", capture.get().rstrip("\n"), flags=re.MULTILINE),
        styled=True,
    )
    sys.exit(int(made.exit_code))
