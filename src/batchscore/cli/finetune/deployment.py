"""The commands `batchscore finetune deploy`, `list` and `clean`: a trained model's use and its end.

They turn options into what `finetune.online` does, and print the result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batchscore.cli.options import GroupedHelp, all_of, config_option, options_of
from batchscore.cli.say import say, say_json
from batchscore.errors import ExitCode, UsageError
from batchscore.finetune.offered import GIVEN, GivenFlags, finetune_command
from batchscore.settings.service_flags import OF_SERVICE
from batchscore.stores.address import place_of

if TYPE_CHECKING:
    from batchscore.finetune.deployment.commands import Caller
    from batchscore.finetune.deployment.make import Offer
    from batchscore.finetune.deployment.removals import Removal

DEPLOY_HELP = """Make the trained model of the folder DIR answer requests, and show how to use it.

\b
On Azure OpenAI a trained model needs a deployment. It is made through Azure Resource Manager, with
an Entra ID token (az login) and not with a key: --resource names the resource. Before that, the
command reads whether this identity may do it and what the quota allows, shows the cost, and asks.
It never changes a deployment that another one has made. Then it waits until the model answers.
At OpenAI a trained model needs no deployment.

\b
Kinds of deployments:
  developer    for evaluation: no hourly price, removed after 24 hours, no SLA, any region
  standard     by the hour while it exists, used or not; texts stay in the region
  global       as standard, but texts may be processed in any region
  provisioned  each of its --capacity N units costs by the hour, used or not

\b
  batchscore finetune deploy tuned/ --resource "$RESOURCE_ID"
  batchscore finetune deploy tuned/ --resource "$RESOURCE_ID" --kind standard --capacity 100 --yes

\b
If the command is killed, or a reply is lost, run it again: one deployment is made.

\b
Exit codes: 0 the model answers; 1 error: fix options, permissions or quota, or the answer was no;
2 usage error; 4 not ready yet: run the same command again; 5 another command works on DIR.
"""

LIST_HELP = """List what of fine-tuning is at the service: jobs, models, deployments and files.

\b
With a folder DIR, only what it made. Models are shown with the date of their retirement, and
deployments with how long they are up and what that has cost. Nothing is changed.

\b
  batchscore finetune list
  batchscore finetune list tuned/
  batchscore finetune list --resource "$RESOURCE_ID" --prices prices.toml

\b
Exit codes: 0 listed; 1 error: fix endpoint, key or resource; 2 usage error; 4 the service does not
respond.
"""

CLEAN_HELP = """Delete at the service what the training of DIR made: its deployment, model and files.

\b
Without --yes, nothing is deleted: the command shows what would be. Only what the training of DIR
made is deleted, as finetune.json and its job say, or what you name with --deployment,
--trained-model or --file. A deployment goes before its model, and files go last. What is not there
is fine, and a deployment that others have made with the same name stays. The files in DIR stay.

\b
  batchscore finetune clean tuned/
  batchscore finetune clean tuned/ --yes
  batchscore finetune clean tuned/ --deployment my-model --yes

\b
If the command is killed, run it again: it continues.

\b
Exit codes: 0 deleted, or shown; 1 something was not deleted: see why; 2 usage error; 4 the service
does not respond: run the same command again; 5 another command works on DIR.
"""


class FinetuneCommand(GroupedHelp):
    """A command whose messages offer other commands with the flags that the user gave."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        service, resource = given_flags(*OF_SERVICE, "config"), given_flags("resource", "arm_endpoint")
        start = (
            given_flags("training_url", "validation_url", "prices", "yes") if ctx.info_name == "start" else []
        )
        GIVEN.set(GivenFlags(tuple(service), tuple(resource), tuple(start)))
        return super().invoke(ctx)


resource_options = all_of(
    click.option(
        "--resource",
        metavar="ID",
        help="ID of the Azure OpenAI resource, /subscriptions/…/accounts/NAME. Default: "
        "$BATCHSCORE_AZURE_RESOURCE, or the resource of the deployment that DIR has.",
    ),
    click.option(
        "--arm-endpoint",
        metavar="URL",
        help="Address of Azure Resource Manager. Default: $BATCHSCORE_ARM_ENDPOINT, or that of "
        "the cloud of the endpoint.",
    ),
)
kind_option = click.option(
    "--kind",
    metavar="KIND",
    help="Kind of deployment: developer, standard, global, provisioned, or a SKU of Azure.  "
    "[default: developer]",
)
capacity_option = click.option(
    "--capacity",
    type=click.IntRange(min=1),
    metavar="N",
    help="Capacity of the deployment in thousands of tokens a minute; 1 is about one request a minute. "
    "With --kind provisioned: the number of its units.  [default: 50; none for provisioned]",
)
json_option = click.option(
    "as_json", "--json", is_flag=True, help="Print one JSON object on standard output."
)
yes_option = click.option("--yes", is_flag=True, help="Do it without a question.")


@click.command(
    help=DEPLOY_HELP, short_help="Make a trained model answer, and show how to use it.", cls=FinetuneCommand
)
@click.argument("folder", metavar="DIR")
@resource_options
@click.option("--name", metavar="NAME", help="Name of the deployment. Default: made of the model's name.")
@kind_option
@capacity_option
@click.option(
    "--trained-model",
    metavar="NAME",
    help="Model or checkpoint to deploy. Default: the one that finetune results proposes, or the job's.",
)
@click.option(
    "--max-wait",
    default="30m",
    metavar="DURATION",
    help="Longest time to wait until the model answers.  [default: 30m]",
)
@yes_option
@options_of({*OF_SERVICE, "prices"})
@config_option
@json_option
def deploy(
    folder: str, *, name: str | None, kind: str | None, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Run `batchscore finetune deploy`."""
    import asyncio  # noqa: PLC0415

    from batchscore.cli.finetune import deployment_text as text  # noqa: PLC0415 - loads the SDK
    from batchscore.cli.finetune.training_options import wait_seconds  # noqa: PLC0415
    from batchscore.finetune.deployment import commands as online  # noqa: PLC0415
    from batchscore.finetune.deployment.decide import checked_kind, checked_name, hosting_price  # noqa: PLC0415
    from batchscore.finetune.prepared_folder import read_summary  # noqa: PLC0415
    from batchscore.finetune.state import local_folder_of, require_state  # noqa: PLC0415

    place = local_folder_of(place_of(folder))
    options = online.DeployOptions(
        None if name is None else checked_name(name),
        None if kind is None else checked_kind(kind),
        chosen["capacity"],
        chosen["trained_model"],
        wait_seconds(chosen["max_wait"]) or 0.0,
    )
    base = require_state(place).job.base_model
    caller, prices = caller_of(folder, chosen)
    hourly = hosting_price(prices, base)

    command = next_command(folder)

    def agree(offer: Offer) -> bool:
        say(text.offer_text(offer, hourly, command), err=True)
        return agreed("Make this deployment?", yes=yes)

    try:
        ready = asyncio.run(online.deploy(place, options, caller, agree))
    except KeyboardInterrupt:
        made = require_state(place).deployment
        if made is not None:
            say(text.interrupted_text(made, hourly, command), err=True)
            sys.exit(int(ExitCode.CONTINUE_LATER))
        raise
    if ready is None:
        say("Nothing was made.", err=True)
        sys.exit(int(ExitCode.ACTION_NEEDED))
    commands = text.commands_of(folder, read_summary(place), ready, base, given_flags(*OF_SERVICE, "config"))
    shown = text.ready_text(ready, hourly, commands, command, caller.clock())
    say_result(text.ready_json(ready, hourly, commands), shown, as_json=as_json)


@click.command(
    "list", help=LIST_HELP, short_help="List jobs, models, deployments and files.", cls=FinetuneCommand
)
@click.argument("folder", metavar="[DIR]", required=False)
@resource_options
@options_of({*OF_SERVICE, "prices"})
@config_option
@json_option
def list_command(folder: str | None, *, as_json: bool, **chosen: Any) -> None:
    """Run `batchscore finetune list`."""
    import asyncio  # noqa: PLC0415

    from batchscore.cli.finetune import deployment_text as text  # noqa: PLC0415 - loads the SDK
    from batchscore.finetune.deployment import commands as online  # noqa: PLC0415
    from batchscore.finetune.state import local_folder_of  # noqa: PLC0415

    place = None if folder is None else local_folder_of(place_of(folder))
    caller, prices = caller_of(folder, chosen)
    found, dialect = asyncio.run(online.inventory(place, caller))
    shown = text.inventory_text(found, dialect.service, prices, caller.clock())
    say_result(text.inventory_json(found, prices), shown, as_json=as_json)


@click.command(help=CLEAN_HELP, short_help="Delete what a training made at the service.", cls=FinetuneCommand)
@click.argument("folder", metavar="[DIR]", required=False)
@resource_options
@click.option(
    "--deployment", "deployments", multiple=True, metavar="NAME", help="Delete this deployment. Repeatable."
)
@click.option("--trained-model", "models", multiple=True, metavar="ID", help="Delete this model. Repeatable.")
@click.option("--file", "files", multiple=True, metavar="ID", help="Delete this file. Repeatable.")
@click.option("--discard-results", is_flag=True, help="Delete results that were not downloaded.")
@yes_option
@options_of(OF_SERVICE)
@config_option
@json_option
def clean(folder: str | None, *, discard_results: bool, yes: bool, as_json: bool, **chosen: Any) -> None:
    """Run `batchscore finetune clean`."""
    import asyncio  # noqa: PLC0415

    from batchscore.cli.finetune import deployment_text as text  # noqa: PLC0415 - loads the SDK
    from batchscore.finetune.deployment import commands as online  # noqa: PLC0415
    from batchscore.finetune.deployment.removals import Named  # noqa: PLC0415
    from batchscore.finetune.state import local_folder_of  # noqa: PLC0415

    place = None if folder is None else local_folder_of(place_of(folder))
    named = Named(chosen["deployments"], chosen["models"], chosen["files"])
    if place is None and not named:
        raise UsageError(
            "Name the folder of a training, or what to delete: --deployment, --trained-model or --file."
        )
    caller, _ = caller_of(folder, chosen)

    def agree(removals: Sequence[Removal]) -> bool:
        if not as_json:
            say(text.removals_text(removals), err=yes)
        return yes

    removals, outcomes = asyncio.run(
        online.clean(place, named, caller, agree, discard_results=discard_results)
    )
    shown = text.cleaned_text(removals, outcomes, sys.argv[1:], finetune_command("list"), done=yes)
    say_result(text.cleaned_json(removals, outcomes, done=yes), shown, as_json=as_json)
    kept = [each for each in outcomes if each.why]
    if any(not each.for_now for each in kept):
        sys.exit(int(ExitCode.ACTION_NEEDED))
    sys.exit(int(ExitCode.CONTINUE_LATER if kept else ExitCode.DONE))


def look_ahead(chosen: dict[str, Any], base: str) -> tuple[dict[str, Any], str, bool]:
    """Return whether a model with this base could be deployed: as JSON, as text, and yes or no."""
    import asyncio  # noqa: PLC0415

    from batchscore.cli.finetune import deployment_text as text  # noqa: PLC0415 - loads the SDK
    from batchscore.finetune.deployment import commands as online  # noqa: PLC0415
    from batchscore.finetune.deployment.decide import checked_kind  # noqa: PLC0415
    from batchscore.finetune.service.resource import ResourceOptions  # noqa: PLC0415

    kind = None if chosen["kind"] is None else checked_kind(chosen["kind"])
    options = online.DeployOptions(kind=kind, capacity=chosen["capacity"])
    resource = ResourceOptions(chosen["resource"], chosen["arm_endpoint"])
    found = asyncio.run(online.prospect(resource, os.environ, base, options))
    return text.prospect_json(found), text.prospect_text(found), not found.problems


def caller_of(folder: str | None, chosen: dict[str, Any]) -> tuple[Caller, Any]:
    """Return how the service is reached, and the list of prices."""
    from batchscore.cli.finetune.training_options import training_place  # noqa: PLC0415
    from batchscore.finetune.deployment.commands import Caller  # noqa: PLC0415
    from batchscore.finetune.service.resource import ResourceOptions  # noqa: PLC0415

    place, prices = training_place(folder, chosen, chosen["config"])
    resource = ResourceOptions(chosen["resource"], chosen["arm_endpoint"])
    return Caller(place, resource, lambda text: say(text, err=True)), prices


def say_result(found: Any, text: str, *, as_json: bool) -> None:
    """Print what a command has found: as one JSON object, or as text."""
    if as_json:
        say_json(found)
    else:
        say(text)


def given_flags(*names: str) -> list[str]:
    """Return the flags that the user gave, of those with these names, for a command to copy."""
    context = click.get_current_context()
    words: list[str] = []
    for option in sorted(context.command.params, key=lambda each: each.name or ""):
        name = option.name or ""
        if name not in names or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value, flag = context.params[name], option.opts[0]
        for each in value if isinstance(value, (tuple, list)) else [value]:
            words += [flag] if each is True else [flag, str(each)]
    return words


def next_command(folder: str) -> Callable[..., str]:
    """Return what makes a later command for a folder, with the flags of the service that the user gave."""
    return lambda action, *more: finetune_command(action, folder, *more)


def agreed(question: str, *, yes: bool, as_json: bool = False) -> bool:
    """Whether the user agrees: by a flag, or by an answer in a terminal. Raises `UsageError` without one."""
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("This costs money, and nobody can answer here: add --yes to the command to agree.")
    with suppress(click.Abort):  # Ctrl-C, or the end of input
        return click.confirm(question, err=True)
    say("", err=True)
    return False


#: The commands of a trained model, in the order of its life.
DEPLOY_COMMANDS = (deploy, list_command, clean)
