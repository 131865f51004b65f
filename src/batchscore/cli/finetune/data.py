"""The command `batchscore finetune`: make training files, check them, and estimate what training costs.

Nothing here sends a request, except `plan` if it is asked to look at the service.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from batchscore.cli.finetune.deployment import (
    DEPLOY_COMMANDS,
    FinetuneCommand,
    capacity_option,
    given_flags,
    json_option,
    kind_option,
    look_ahead,
    next_command,
    resource_options,
    say_result,
)
from batchscore.cli.finetune.training import JOB_COMMANDS
from batchscore.cli.options import all_of, config_option, options_of
from batchscore.cli.say import say
from batchscore.cli.standard_input import input_files
from batchscore.errors import ExitCode, UsageError, count_text
from batchscore.settings.service_flags import OF_SERVICE
from batchscore.stores.address import command_word, place_of, shell_command

#: The settings of reading that these commands share with score.
READING = (
    *("encoding", "delimiter", "quote", "escape", "no_header", "skip_lines", "records", "sheet", "txt"),
    "stdin_format",
)
#: Names of formats and services; `finetune.kinds` and `finetune.rules` describe them.
FORMATS = (
    *("chat", "prompt-completion", "preference", "reinforcement", "text-classification"),
    *("token-classification", "question-answering", "text-summarization", "text-translation"),
    "text-generation",
)
DEFAULT_MODEL = "gpt-4o"

PREPARE_HELP = """Make training, validation and test files from the rows of INPUT.

\b
Reads csv, tsv, xlsx, json, jsonl, txt, parquet and arrow files; - is standard input. Columns become
fields by templates; without them columns of usual names are taken, such as question and answer, or
messages.

\b
  batchscore finetune prepare tickets.csv -o tuned/ --system "Name the topic." \\
      --prompt "{text}" --answer "{topic}"
  batchscore finetune prepare chats.jsonl -o tuned/
  batchscore finetune prepare pairs.xlsx -o tuned/ --format preference --rejected "{worse}"
  batchscore finetune prepare tickets.csv -o tuned/ --format text-classification

\b
Writes train.jsonl, validation.jsonl and test.jsonl, prepare.json with counts and checksums, and
report.html. Keep the test part: it is never sent. If a row cannot become an example, or is
too long, no file is written, and problems.jsonl names each row. Nothing is sent.

\b
Exit codes: 0 written; 1 error: fix INPUT, OUT or columns; 2 usage error; 3 rows cannot become
examples.
"""

CHECK_HELP = """Check the training file FILE before it is uploaded, and name all its errors by line.

FILE may be a folder of "finetune prepare": both its files are checked.

\b
The rules are those of OpenAI, of Azure OpenAI and of Azure ML's components. The services check
a file in the job and name one error at a time. Tokens are counted, and an example that would be
cut off is an error. Nothing is sent, and no text of the file is shown.

\b
  batchscore finetune check train.jsonl
  batchscore finetune check tuned/
  batchscore finetune check train.jsonl --validation validation.jsonl --service azure

\b
Exit codes: 0 no errors, perhaps warnings; 1 error: FILE cannot be read; 2 usage error; 3 FILE
has errors.
"""

PLAN_HELP = """Show what training on DATA would cost, and whether it is within known limits.

\b
DATA is a folder of "finetune prepare", or a training file. The cost is tokens times epochs by the
price in --prices: training is that of a million tokens, hosting that of an hour of a deployment.
Nothing is sent. With --check-service it also reads from the service whether the model is there,
until when it can be trained and used, and how many files and jobs there are. With --resource it
reads from Azure whether this identity may deploy the model, and whether the quota is there.

\b
  batchscore finetune plan tuned/ -m gpt-4.1-mini --epochs 3 --prices prices.toml
  batchscore finetune plan tuned/ -m gpt-4.1-mini --check-service
  batchscore finetune plan tuned/ -m gpt-4.1-mini-2025-04-14 --resource "$RESOURCE_ID"

\b
Exit codes: 0 within the limits; 1 error: fix DATA, prices, endpoint or resource; 2 usage error;
3 DATA has errors, a limit is exceeded, or the model cannot be trained or deployed; 4 the service
does not respond.
"""


@click.group(short_help="Train a customised model: files, cost, job, results.")
def finetune() -> None:
    """Train a customised model: prepare and check its files, plan the cost, run the job, see the results."""


#: The options that decide how examples are checked and counted, and `--json`.
shared_options = all_of(
    click.option(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help=f"Base model: its tokenizer and prices are used.  [default: {DEFAULT_MODEL}]",
    ),
    click.option(
        "--service",
        type=click.Choice(["any", "openai", "azure"]),
        default="any",
        help="Whose rules apply; any: the strictest of all.  [default: any]",
    ),
    click.option(
        "--max-example-tokens",
        type=click.IntRange(min=0),
        metavar="N",
        help="Tokens at which the service cuts an example off; 0: no limit. Default: 65536, or 16385 "
        "for gpt-3.5-turbo.",
    ),
    json_option,
)


def model_flags(*names: str) -> list[str]:
    """Return flags that the user gave for a later command, which needs a model that the user has chosen."""
    given = given_flags("model", *names)
    return given if "-m" in given else ["-m", "MODEL", *given]


format_option = click.option(
    "format_name",
    "--format",
    type=click.Choice(FORMATS),
    default=None,
    metavar="NAME",
    help=f"Format of the examples: {', '.join(FORMATS)}.",
)


@finetune.command(help=PREPARE_HELP, short_help="Make training files from tables.", cls=FinetuneCommand)
@click.argument("inputs", nargs=-1, metavar="INPUT...", required=True)
@click.option("-o", "--output", required=True, metavar="OUT", help="Folder for the files.")
@format_option
@click.option("--system", metavar="TEMPLATE", help="System message; use the same one for scoring.")
@click.option(
    "--prompt", metavar="TEMPLATE", help="Input of an example, or its column: {column} inserts a cell."
)
@click.option(
    "--answer", metavar="TEMPLATE", help="Answer to learn, or its column. The preferred one of a pair."
)
@click.option("--rejected", metavar="TEMPLATE", help="The other answer of a pair (preference).")
@click.option("--context", metavar="TEMPLATE", help="Context of a question, or the second text of a pair.")
@click.option(
    "field_flags",
    "--field",
    multiple=True,
    metavar="NAME=TEMPLATE",
    help="Any other field of the format, such as tools={tools} or de={german}. Repeatable.",
)
@click.option("--messages", metavar="FILE", help="JSON file of messages with templates, or its text (chat).")
@click.option("--image", multiple=True, metavar="COLUMN", help="Column of images (chat). Repeatable.")
@click.option(
    "--image-detail",
    type=click.Choice(["auto", "low", "high"]),
    default="auto",
    help="How closely the model looks at images; low costs least.",
)
@click.option(
    "--split",
    default="80/10/10",
    metavar="A/B/C",
    help="Percent of training, validation and test examples.  [default: 80/10/10]",
)
@click.option(
    "--validation", multiple=True, metavar="INPUT", help="Input of the validation part. Repeatable."
)
@click.option("--test", multiple=True, metavar="INPUT", help="Input of the test part. Repeatable.")
@click.option("--group", metavar="COLUMN", help="Rows with the same value stay in one part.")
@click.option(
    "--stratify",
    metavar="COLUMN",
    help="Column whose values are spread evenly over the parts; none: not at all. Default: the answers, if "
    "they are classes.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the split.  [default: 0]")
@click.option(
    "--drop-invalid", is_flag=True, help="Leave out rows that cannot become examples, and write the rest."
)
@click.option("--keep-duplicates", is_flag=True, help="Keep examples that repeat an earlier one.")
@click.option("--bom", is_flag=True, help="Begin the files with a byte order mark. OpenAI refuses it.")
@options_of(READING)
@config_option
@shared_options
def prepare(
    inputs: tuple[str, ...], *, output: str, as_json: bool, config: str | None, **chosen: Any
) -> None:
    """Run `batchscore finetune prepare`."""
    from batchscore.cli.finetune import data_options as spec  # noqa: PLC0415 - loads the readers
    from batchscore.cli.finetune.data_text import prepared_text  # noqa: PLC0415
    from batchscore.finetune.examples.kinds import kind_named  # noqa: PLC0415
    from batchscore.finetune.examples.rules import SERVICES  # noqa: PLC0415
    from batchscore.finetune.prepare import page, summary, write_parts  # noqa: PLC0415
    from batchscore.finetune.prepare.read_examples import FREE, ReadExample  # noqa: PLC0415
    from batchscore.finetune.prepare.split import shares_of  # noqa: PLC0415
    from batchscore.finetune.prepared_folder import write_summary  # noqa: PLC0415
    from batchscore.finetune.state import hold_folder  # noqa: PLC0415
    from batchscore.plan.survey import read_options  # noqa: PLC0415
    from batchscore.stores import storage  # noqa: PLC0415

    if chosen["bom"] and chosen["service"] == "openai":
        raise UsageError("OpenAI refuses files with a byte order mark: leave out --bom.")
    kind = kind_named(chosen["format_name"] or "chat")
    counter = spec.token_counter(chosen["model"])
    settings = spec.reading_settings(chosen, config)
    how = ReadExample(
        spec.mapped_of(kind.name, chosen),
        read_options(settings),
        SERVICES[chosen["service"]],
        spec.example_tokens(counter, chosen["model"]),
        spec.token_limit(chosen) if kind.hosted else 0,
        chosen["model"],
        chosen["group"],
        None if chosen["stratify"] == "none" else chosen["stratify"],
    )
    options = write_parts.PrepareOptions(
        shares_of(chosen["split"]),
        chosen["seed"],
        chosen["stratify"] != "none",
        chosen["drop_invalid"],
        chosen["keep_duplicates"],
        chosen["bom"],
    )
    folder = place_of(output)
    with hold_folder(folder, "batchscore finetune prepare", lambda text: say(text, err=True)):
        with input_files(inputs, settings) as files:
            given = {FREE: files, 1: chosen["validation"], 2: chosen["test"]}
            found = write_parts.prepare(
                {part: each for part, each in given.items() if each}, folder, how, options
            )
        content = summary.to_json(found, how, options, counter)
        write_parts.write_problems(folder, found.read.problems)
        storage.write_whole(folder / page.PAGE, page.page(found, content, output))
        if found.is_written:
            write_summary(folder, content)
    following = next_command(output)("plan", *model_flags("max_example_tokens"))
    say_result(content, prepared_text(found, content, output, following), as_json=as_json)
    sys.exit(int(ExitCode.DONE if found.is_written else ExitCode.ROWS_FAILED))


@finetune.command(
    help=CHECK_HELP, short_help="Name all errors of a training file by line.", cls=FinetuneCommand
)
@click.argument("file")
@click.option(
    "--validation", metavar="FILE", help="Check this validation file, too, and what both files share."
)
@format_option
@shared_options
def check(file: str, *, validation: str | None, as_json: bool, **chosen: Any) -> None:
    """Run `batchscore finetune check`."""
    from batchscore.cli.finetune import data_options as spec  # noqa: PLC0415 - loads the readers
    from batchscore.cli.finetune.data_text import checked_json, checked_text  # noqa: PLC0415

    counter = spec.token_counter(chosen["model"])
    found = spec.checked_files(file, validation, chosen, counter)
    following = next_command(file)("plan", *model_flags("max_example_tokens", "validation", "service"))
    say_result(checked_json(found, counter), checked_text(found, counter, following), as_json=as_json)
    sys.exit(int(ExitCode.ROWS_FAILED if any(each.errors for each in found) else ExitCode.DONE))


@finetune.command(help=PLAN_HELP, short_help="Show what training would cost.", cls=FinetuneCommand)
@click.argument("data")
@click.option("--validation", metavar="FILE", help="Validation file, if DATA is a file.")
@click.option(
    "--epochs",
    type=click.IntRange(1, 50),
    metavar="N",
    help="Passes over the training file. Default: what auto probably means.",
)
@click.option("--check-service", is_flag=True, help="Read from the service whether it can be trained there.")
@resource_options
@kind_option
@capacity_option
@options_of({*OF_SERVICE, "prices"})
@config_option
@shared_options
def plan(
    data: str,
    *,
    validation: str | None,
    epochs: int | None,
    check_service: bool,
    as_json: bool,
    config: str | None,
    **chosen: Any,
) -> None:
    """Run `batchscore finetune plan`."""
    from batchscore.cli.finetune import data_options as spec  # noqa: PLC0415 - loads the readers
    from batchscore.cli.finetune.data_text import plan_json, plan_lines  # noqa: PLC0415
    from batchscore.finetune.offered import how_to  # noqa: PLC0415
    from batchscore.stores import storage  # noqa: PLC0415

    prices = spec.reading_settings(chosen, config).prices
    found = spec.estimate(data, validation, chosen, epochs, prices)
    is_fine, shown, lines = found.is_fine, plan_json(found), plan_lines(found)
    if found.errors:
        flags = given_flags("model", "service", "max_example_tokens", "validation")
        check = shell_command(["batchscore", "finetune", "check", command_word(data), *flags])
        lines.append(f"{count_text(found.errors, 'error')} in the files. To see them, run: {check}")
    has_types = False
    if check_service:
        from batchscore.cli.finetune import training_options as job_spec  # noqa: PLC0415 - loads the SDK
        from batchscore.cli.finetune.training_text import service_json, service_lines  # noqa: PLC0415

        facts = job_spec.facts_of(data, found.files, chosen, config)
        is_fine = is_fine and not facts.problems and all(each.is_kept for each in facts.limits)
        shown |= {"service": service_json(facts)}
        lines += service_lines(facts)
        has_types = facts.has_training_types
    if chosen["resource"]:
        more, text, is_possible = look_ahead(chosen, chosen["model"])
        is_fine = is_fine and is_possible
        shown |= {"deployment": more}
        lines.append(text)
    # `start` trains with the validation file of the folder.
    if is_fine and validation is None and storage.is_folder(place_of(data)):
        flags = model_flags("epochs", "prices")
        if chosen["resource"] or chosen["service"] == "azure" or has_types:
            # It alone keeps the data in the resource's region, so it needs no decision.
            flags += ["--training-type", "Standard"]
            lines.append(
                "Standard trains in the region of the resource. GlobalStandard and Developer cost less, and "
                "may send the data to other regions."
            )
        lines.append(how_to("To train", next_command(data)("start", *flags)))
    say_result(shown, "\n".join(lines), as_json=as_json)
    sys.exit(int(ExitCode.DONE if is_fine else ExitCode.ROWS_FAILED))


for of_training in (*JOB_COMMANDS, *DEPLOY_COMMANDS):
    finetune.add_command(of_training)
