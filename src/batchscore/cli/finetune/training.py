"""The commands of `batchscore finetune` that train: start a job, follow it, change it, draw its results."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from batchscore.cli.finetune.deployment import FinetuneCommand, agreed, next_command, say_result
from batchscore.cli.options import all_of, config_option, options_of
from batchscore.cli.say import say
from batchscore.errors import ExitCode
from batchscore.settings.service_flags import OF_SERVICE

START_HELP = """Upload the files of DIR, a folder of "finetune prepare", and create a training job.

\b
Checks the files first, shows the estimated cost, and creates the job once you agree: on a
terminal it asks, otherwise give --yes. If the command is killed or a reply is lost, run it again:
it continues at the first step that is not done, and looks for the job before it creates one. If
the service lists a job too late, the second one is cancelled. If another folder has a job of the
same data and settings, the command stops and names it. The test part is never sent.

\b
  batchscore finetune start tuned/ -m gpt-4.1-mini-2025-04-14 --epochs 3 --prices prices.toml
  batchscore finetune start tuned/ -m gpt-4o-mini-2024-07-18 --training-type Standard --yes
  batchscore finetune start tuned/

\b
Azure OpenAI needs --training-type. Standard trains in the region of the resource; GlobalStandard
and Developer are cheaper and may send the data to other regions. finetune.json in DIR records
each step, without keys.

\b
Exit codes: 0 the job was created; 1 error: fix DIR, endpoint, key or settings, or the job has
failed, or the answer was no; 2 usage error, or --yes is missing; 3 the files have errors, or a
limit is exceeded; 4 the service does not respond; 5 another command is working on DIR.
"""

STATUS_HELP = """Show the training job of DIR: its state, its steps and its last events.

\b
  batchscore finetune status tuned/

\b
Exit codes: 0 the job has succeeded; 1 it has failed or was cancelled, or DIR has none; 2 usage
error; 4 it has not ended, or the service does not respond.
"""

WATCH_HELP = """Show the events and the loss of the training job of DIR until it ends.

\b
  batchscore finetune watch tuned/
  batchscore finetune watch tuned/ --max-wait 2h

\b
Ctrl-C ends the command, not the job: run it again to continue after the last event shown.

\b
Exit codes: 0 the job has succeeded; 1 it has failed or was cancelled, or DIR has none; 2 usage
error; 4 it has not ended, or the service does not respond.
"""

PAUSE_HELP = """Pause the training job of DIR. The service keeps a checkpoint; a pause is not billed.

A job can be paused once it has done a step. The pause takes minutes.

\b
  batchscore finetune pause tuned/

\b
Exit codes: 0 the service accepted it; 1 error: the job cannot be paused, or DIR has none; 2 usage
error; 4 the service does not respond.
"""

RESUME_HELP = """Resume the paused training job of DIR.

\b
  batchscore finetune resume tuned/

\b
Exit codes: 0 the service accepted it; 1 error: the job cannot be resumed, or DIR has none; 2 usage
error; 4 the service does not respond.
"""

CANCEL_HELP = """Cancel the training job of DIR. What it has trained is billed.

\b
  batchscore finetune cancel tuned/

\b
Exit codes: 0 it is cancelled; 1 error: the job has ended, or DIR has none; 2 usage error; 4 the
service does not respond.
"""

RESULTS_HELP = """Download the results of the training job of DIR, draw them, and propose a checkpoint.

\b
Writes results.csv and results.html to DIR: loss and token accuracy of training and validation
over the steps, with epochs and checkpoints, the generalisation gap, and all other columns. The
checkpoint with the lowest validation loss is proposed.

\b
  batchscore finetune results tuned/

\b
Exit codes: 0 the job has succeeded, and its results are drawn; 1 it has failed or was cancelled,
or DIR has none; 2 usage error; 4 it has not ended (what there is so far is drawn), or the service
does not respond.
"""


#: The options that say which service is called, and `--json`.
service_options = all_of(
    options_of(OF_SERVICE),
    config_option,
    click.option("as_json", "--json", is_flag=True, help="Print JSON on standard output."),
)


@click.command(help=START_HELP, short_help="Upload the files and create a training job.", cls=FinetuneCommand)
@click.argument("folder", metavar="DIR")
@click.option(
    "-m", "--model", metavar="NAME", help="Base model. Required, unless the job was started before."
)
@click.option("--epochs", type=click.IntRange(1, 50), metavar="N", help="Passes over the training file.")
@click.option("--batch-size", type=click.IntRange(1, 256), metavar="N", help="Examples of one step.")
@click.option(
    "--learning-rate-multiplier",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Factor of the service's learning rate.",
)
@click.option(
    "--beta",
    type=click.FloatRange(0, 2, min_open=True),
    metavar="X",
    help="How closely the model stays at its base (preference).",
)
@click.option(
    "hyperparameters",
    "--hyperparameter",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other hyperparameter by the service's name. Repeatable.",
)
@click.option("--grader", metavar="FILE", help="JSON file of the grader (reinforcement).")
@click.option("--suffix", metavar="TEXT", help="Part of the trained model's name: letters, digits, - and _.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Seed of the training.")
@click.option(
    "--training-type",
    type=click.Choice(["Standard", "GlobalStandard", "Developer"], case_sensitive=False),
    help="Where Azure OpenAI trains. Required there.",
)
@click.option(
    "--training-url",
    metavar="URL",
    help="Let Azure OpenAI fetch the training file from this URL, such as '${TRAINING_URL}'.",
)
@click.option("--validation-url", metavar="URL", help="As --training-url, for the validation file.")
@click.option(
    "--again",
    is_flag=True,
    help="Create a new job after one that failed or was cancelled, or although another folder has one of the "
    "same data.",
)
@click.option("--yes", is_flag=True, help="Accept the estimated cost.")
@options_of({"prices"})
@service_options
def start(folder: str, *, again: bool, yes: bool, as_json: bool, config: str | None, **chosen: Any) -> None:
    """Run `batchscore finetune start`."""
    from batchscore.cli.finetune import training_options as spec  # noqa: PLC0415 - loads the SDK
    from batchscore.cli.finetune import training_text as text  # noqa: PLC0415
    from batchscore.cli.finetune.data_text import plan_json  # noqa: PLC0415
    from batchscore.finetune.state import read_state  # noqa: PLC0415
    from batchscore.finetune.training.begin import before_again  # noqa: PLC0415
    from batchscore.finetune.training.commands import run_start, run_status  # noqa: PLC0415

    place, prices = spec.training_place(folder, chosen, config, begins=True)
    old = read_state(place.folder)
    if again and old is not None and old.job.may_exist:
        begun = old.job.again
        if not old.job.ended and (old.job.id or not begun):
            # It may have ended since it was looked at.
            old = run_status(place).state
        # The same command may have been killed.
        again = not begun or old.job.ended
        if again:
            before_again(old, place.folder)
    request = spec.request_of_options(place, old, chosen)
    urls = spec.import_urls(place, chosen)
    accepted = costs = None
    if old is None or again or not old.job.may_exist:
        estimate, digests = spec.estimate_of(place, request, old, prices)
        accepted, costs = (estimate.cost, digests), plan_json(estimate)
        if not as_json:
            say(text.estimate_text(estimate))
        if not estimate.is_fine:
            if as_json:
                say_result({"estimate": costs}, "", as_json=True)
            sys.exit(int(ExitCode.ROWS_FAILED))
        if not agreed("Start the training?", yes=yes, as_json=as_json):
            say("Nothing was sent.", err=True)
            sys.exit(int(ExitCode.ACTION_NEEDED))
    try:
        state = run_start(
            place, request, urls, lambda line: say(line, err=True), again=again, accepted=accepted
        )
    except KeyboardInterrupt:
        left = read_state(place.folder)
        if left is not None and left.job.may_exist:
            say(text.interrupted_text(next_command(folder)), err=True)
            sys.exit(int(ExitCode.CONTINUE_LATER))
        raise
    shown = {**text.state_json(state, place.folder), "estimate": costs}
    say_result(shown, text.started_text(state, next_command(folder)), as_json=as_json)
    if state.job.status in {"failed", "cancelled"}:
        sys.exit(int(ExitCode.ACTION_NEEDED))


@click.command(help=STATUS_HELP, short_help="Show the training job.", cls=FinetuneCommand)
@click.argument("folder", metavar="DIR")
@service_options
@options_of({"prices"})
def status(folder: str, *, as_json: bool, config: str | None, **chosen: Any) -> None:
    """Run `batchscore finetune status`."""
    from batchscore.cli.finetune import training_options as spec  # noqa: PLC0415 - loads the SDK
    from batchscore.cli.finetune import training_text as text  # noqa: PLC0415
    from batchscore.cli.finetune.deployment_text import deployment_facts  # noqa: PLC0415
    from batchscore.finetune.training.commands import run_status  # noqa: PLC0415

    place, prices = spec.training_place(folder, chosen, config)
    found, now, command = run_status(place), time.time(), next_command(folder)
    shown = text.look_text(found, command, now, deployment_facts(found.state, prices, now, command))
    say_result(text.look_json(found, place.folder), shown, as_json=as_json)
    sys.exit(int(text.exit_code_of(found)))


@click.command(help=WATCH_HELP, short_help="Follow the training job until it ends.", cls=FinetuneCommand)
@click.argument("folder", metavar="DIR")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="Seconds between two looks at the job.  [default: 10]",
)
@click.option("--max-wait", metavar="DURATION", help="End the command after 45s, 90m or 2h, not the job.")
@service_options
def watch(
    folder: str,
    *,
    every: float | None,
    max_wait: str | None,
    as_json: bool,
    config: str | None,
    **chosen: Any,
) -> None:
    """Run `batchscore finetune watch`."""
    from batchscore.cli.finetune import training_options as spec  # noqa: PLC0415 - loads the SDK
    from batchscore.cli.finetune import training_text as text  # noqa: PLC0415
    from batchscore.finetune.training.commands import run_watch  # noqa: PLC0415

    seconds = spec.wait_seconds(max_wait)
    place, _ = spec.training_place(folder, chosen, config, spec.watching(every))
    shown = text.Watched(next_command(folder), as_json=as_json)
    try:
        found = run_watch(place, shown.hear, seconds)
    except KeyboardInterrupt:
        say(shown.left_text(), err=True)
        sys.exit(int(ExitCode.CONTINUE_LATER))
    last = {"event": "last", **text.look_json(found, place.folder)}
    say_result(last, text.ended_text(found, next_command(folder)), as_json=as_json)
    sys.exit(int(text.exit_code_of(found)))


@click.command(
    help=RESULTS_HELP, short_help="Draw the results and propose a checkpoint.", cls=FinetuneCommand
)
@click.argument("folder", metavar="DIR")
@service_options
def results(folder: str, *, as_json: bool, config: str | None, **chosen: Any) -> None:
    """Run `batchscore finetune results`."""
    from batchscore.cli.finetune import training_options as spec  # noqa: PLC0415 - loads the SDK
    from batchscore.cli.finetune import training_text as text  # noqa: PLC0415
    from batchscore.finetune.training.commands import run_results  # noqa: PLC0415

    place, _ = spec.training_place(folder, chosen, config)
    found, drawn = run_results(place)
    shown = text.results_text(found, drawn, folder, next_command(folder))
    say_result(text.results_json(found, drawn, place.folder), shown, as_json=as_json)
    sys.exit(int(text.exit_code_of(found)))


def action_command(action: str, help_text: str, short: str) -> click.Command:
    """Return the command that pauses, resumes or cancels a job."""

    @click.command(action, help=help_text, short_help=short, cls=FinetuneCommand)
    @click.argument("folder", metavar="DIR")
    @service_options
    def run(folder: str, *, as_json: bool, config: str | None, **chosen: Any) -> None:
        from batchscore.cli.finetune import training_options as spec  # noqa: PLC0415 - loads the SDK
        from batchscore.cli.finetune import training_text as text  # noqa: PLC0415
        from batchscore.finetune.training.commands import run_action  # noqa: PLC0415

        place, _ = spec.training_place(folder, chosen, config)
        found = run_action(place, action)
        shown = text.ended_text(found, next_command(folder))
        if action == "pause" and found.job.status != "paused":
            shown = f"The service has accepted the pause, which takes minutes.\n{shown}"
        say_result(text.look_json(found, place.folder), shown, as_json=as_json)

    command: click.Command = run
    return command


#: The commands of a job, in the order of a training.
JOB_COMMANDS = (
    start,
    status,
    watch,
    action_command("pause", PAUSE_HELP, "Pause the training job."),
    action_command("resume", RESUME_HELP, "Resume the training job."),
    action_command("cancel", CANCEL_HELP, "Cancel the training job."),
    results,
)
