"""Write the reference pages from the code: `python docs/generate.py`. A test checks that they are current."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import dedent, fill
from typing import Any

import click

import batchscore
from batchscore import errors
from batchscore.cli.main import cli
from batchscore.report.advice import advice
from batchscore.settings.declare import (
    CONFIG_FILE,
    CONFIG_VARIABLE,
    as_flag,
    shown_default,
    variable_of,
)
from batchscore.settings.fields import Settings

sys.path.insert(0, str(Path(__file__).parent))

from output_fields import fields_page

DOCS = Path(__file__).parent
SOURCE = Path(batchscore.__file__).parent
#: Between these two lines the page of the architecture is generated.
TRUST_BEGIN, TRUST_END = "<!-- credentials: made by docs/generate.py -->", "<!-- end of credentials -->"
ROOMS_BEGIN, ROOMS_END = "<!-- rooms: made by docs/generate.py -->", "<!-- end of rooms -->"
FORMATS_BEGIN, FORMATS_END = "<!-- formats: made by docs/generate.py -->", "<!-- end of formats -->"

MADE = "Generated from the code by `docs/generate.py`."

#: Width of a command's help in characters.
HELP_WIDTH = 100
FOLDED: Mapping[str, Any] = {"subsequent_indent": "  ", "break_on_hyphens": False}

SETTINGS_HEAD = f"""# Settings

{MADE}

Each setting is a flag, an environment variable and a key of the file `{CONFIG_FILE}`. The flag overrides
the variable, the variable overrides the file, and the file overrides the default. The file is read from the
working folder. To use another one, name it with `--config` or `{CONFIG_VARIABLE}`. The variable also works
with Azure ML, Python and MLflow models. A file that you have not named may say where requests go, and what
signs them, only if you [trust](../explanation/trust.md) it.

- The key in the file is the flag's name without the dashes: `max_tokens = 200`, `keep = ["title"]`.
  Parameters are a table, `[param]`.
- In a variable, separate several names by commas (`BATCHSCORE_KEEP=title,lang`). Parameters are a JSON object
  (`BATCHSCORE_PARAM='{{"temperature": 0.2}}'`).
- An unknown `BATCHSCORE_…` variable produces a warning.
- API keys and tokens are not settings. They are read only from the environment, see
  [endpoints](../how-to/endpoints.md).
"""

COMMANDS_HEAD = f"""# Commands

{MADE} `batchscore --version` prints the version. A setting that
several commands have is described once here. `--help` describes all options of a command.
"""

PYTHON_HEAD = f"""# Python names

{MADE} All names in `import batchscore` are supported. Everything
else may change. [Score from Python](../how-to/python.md) explains how to use them.
"""


def settings_page() -> str:
    """Return the page of the settings."""
    groups: dict[str, list[str]] = {}
    for declared in fields(Settings):
        facts = declared.metadata
        names = f"`{as_flag(declared.name)}`" + (f" `{facts['flag']}`" if facts["flag"] else "")
        variable = "flag only" if facts["only"] == "flag" else f"`{variable_of(declared)}`"
        if facts["only"] == "file":
            names, variable = f"`[[{declared.name}]]`", "file only"
        shown = shown_default(declared)
        default = f" Default: `{shown}`." if shown else ""
        choices = f" ({', '.join(facts['choices'])})" if facts["choices"] else ""
        row = f"| {names} | {facts['help']}{choices}{default} | {variable} |"
        groups.setdefault(facts["group"], []).append(row)
    pages = [SETTINGS_HEAD]
    for group, rows in groups.items():
        table = "\n".join(["| flag | what it does | variable |", "| --- | --- | --- |", *rows])
        pages.append(f"\n## {group}\n\n{table}\n")
    return "".join(pages)


def commands_page() -> str:
    """Return the page of the commands, with the help of each; a setting is described at its first command."""
    pages = [COMMANDS_HEAD]
    known: dict[str, str] = {}
    for words, command in commands_below(cli, ("batchscore",)):
        context = click.Context(
            command, info_name=" ".join(words), terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
        )
        context.help_option_names = ["-h", "--help"]
        name, text = " ".join(words), command.get_help(context).rstrip()
        shown = "\n\n".join(described_once(block, name, known) for block in text.split("\n\n"))
        pages.append(f"\n## {name}\n\n```text\n{shown}\n```\n")
    return "".join(pages)


def described_once(block: str, command: str, known: dict[str, str]) -> str:
    """Return a group of options in a command's help, without the settings that are `known` already."""
    head, *options = re.split(r"\n(?=  -)", block)
    flags = {as_flag(declared.name) for declared in fields(Settings)}
    shown, before = [head], dict[str, list[str]]()
    for option in options:
        flag = re.findall(r"--[a-z-]+", option)[0]
        first = known.setdefault(" ".join(option.split()), command) if flag in flags else command
        if first == command:
            shown.append(option)
        else:
            before.setdefault(first, []).append(flag)
    texts = [f"  {', '.join(flags)}: as for {name}" for name, flags in before.items()]
    return "\n".join(shown + [fill(text, HELP_WIDTH, **FOLDED) for text in texts])


def commands_below(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that is not a group, with its words, in the order of the group's help."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in sorted(command.list_commands(context), key=lambda name: (name != "score", name)):
        one = command.get_command(context, name)
        assert one is not None, name
        yield from commands_below(one, (*words, name))


def as_flags(text: str) -> str:
    """Return a text in which settings are called by their flags."""
    return re.sub("\x02[^\x03]+\x03", lambda mark: f"`{errors.name_settings(mark[0], as_flag)}`", text)


def codes_page() -> str:
    """Return the page of error codes, exit codes and exceptions."""
    rows = []
    for code, means in errors.ERROR_MEANINGS.items():
        again = "yes" if code in errors.TRANSIENT else "no"
        rows.append(f"| `{code.value}` | {as_flags(means)} | {again} | {as_flags(advice(code.value))} |")
    exits = [
        f"| {code.value} | {as_flags(means)} | {actor} |"
        for code, (means, actor) in errors.EXIT_MEANINGS.items()
    ]
    tree = dedent("".join((errors.__doc__ or "").partition("    BatchscoreError")[1:])).rstrip()
    return f"""# Codes

{MADE} [Errors by code](../how-to/errors.md) has detailed advice for each.

## Error codes

The `error.code` of an [error record](output.md). Transient errors have a "yes" under *retried*: the same
`score` command retries these rows. The other errors are permanent. Their rows are retried only with
`--retry-errors`, or when the row has changed.

| code | what happened | retried | what to do |
| --- | --- | --- | --- |
{chr(10).join(rows)}

## Exit codes

| code | meaning | who must act |
| --- | --- | --- |
{chr(10).join(exits)}

`plan`, `merge`, `verify`, `evaluate`, `finetune` and `check` use the same numbers. Their help gives the
meaning of each. Ctrl-C or SIGTERM ends each of them with 4, also while it starts and nothing is done yet: run
the same command again. Only in the first moment, while Python itself starts, Python shows a traceback. With
`--json`, a command that fails prints an object on standard output instead of its result: `event` is `failed`,
`exit_code` is this number, and `reason` says why. A signal during the start prints none.

## Exceptions

From Python, each of these is raised. The command line exits with its exit code. Catch those that
`batchscore` exports ([Python names](python-names.md)). All are subclasses of `BatchscoreError`.

```text
{tree}
```
"""


def python_page() -> str:
    """Return the page of the supported Python names."""
    functions, classes, exceptions = [], [], []
    for name in sorted(batchscore.__all__):
        thing = getattr(batchscore, name)
        if inspect.isfunction(thing):
            functions.append(f"## {name}\n\n```text\n{signature(thing)}\n```\n\n{inspect.getdoc(thing)}\n")
        elif inspect.isclass(thing) and issubclass(thing, Exception):
            exceptions.append(f"| `{name}` | {inspect.getdoc(thing)} | {thing.exit_code.value} |")  # type: ignore[attr-defined]
        elif is_dataclass(thing):
            lines = "\n".join(f"{one.name}: {one.type}" for one in fields(thing))
            classes.append(f"## {name}\n\n```text\n{lines}\n```\n\n{inspect.getdoc(thing)}\n")
        elif inspect.isclass(thing):
            values = ", ".join(f"`{one.name}`" for one in thing)
            classes.append(f"## {name}\n\n{inspect.getdoc(thing)}\n\n{values}. See [codes](codes.md).\n")
    return "\n".join(
        [
            PYTHON_HEAD,
            *functions,
            *classes,
            "## Exceptions\n\n| exception | what happened | exit code |\n| --- | --- | --- |",
            "\n".join(exceptions) + "\n",
        ]
    )


def signature(function: Callable[..., object]) -> str:
    """Return the declaration of a function, as written in its source."""
    source = dedent(inspect.getsource(function))
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = source.splitlines()[body.lineno - 1 : body.body[0].lineno - 1]
    return "\n".join(lines).rstrip().removesuffix(":")


def rooms_table() -> str:
    """Return the table of rooms: the question of each and what it may import, as a test enforces it."""
    may_import = runpy.run_path(str(DOCS.parent / "tests" / "import_table.py"))["MAY_IMPORT"]
    rows = ["| room | question | may import |", "| --- | --- | --- |"]
    for room, others in may_import.items():
        inner = sorted(path.parent.name for path in SOURCE.glob(f"{room}/*/__init__.py"))
        questions = [question(room), *(f"`{each}/` {question(f'{room}/{each}')}" for each in inner)]
        names = ", ".join(f"`{name}`" for name in sorted(others)) or "nothing"
        rows.append(f"| `{room}/` | {'<br>'.join(questions)} | {names} |")
    return "\n".join(rows)


def question(folder: str) -> str:
    """Return the first line of a package's docstring; its code is not run."""
    tree = ast.parse((SOURCE / folder / "__init__.py").read_text("utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def architecture_page() -> str:
    """Return the architecture page with a fresh table of rooms; the rest of it is written by hand."""
    return with_part("explanation/architecture.md", ROOMS_BEGIN, rooms_table(), ROOMS_END)


def trust_page() -> str:
    """Return the page on trust with fresh tables of credentials, as a test enforces them."""
    tables = runpy.run_path(str(DOCS.parent / "tests" / "credential_table.py"))["markdown"]()
    return with_part("explanation/trust.md", TRUST_BEGIN, tables, TRUST_END)


def readme() -> str:
    """Return README with the table of input formats of the reference, without its notes."""
    text = (DOCS / "reference" / "input.md").read_text("utf-8")
    (rows,) = re.findall(r"^\| suffix .*?\n\n", text, re.DOTALL | re.MULTILINE)
    table = "\n".join("|".join(line.split("|")[:3]) + "|" for line in rows.split("\n") if line)
    return with_part("../README.md", FORMATS_BEGIN, table, FORMATS_END)


def with_part(page: str, begin: str, part: str, end: str) -> str:
    """Return a page that is written by hand, with one part of it replaced."""
    text = (DOCS / page).read_text("utf-8")
    head, tail = text.partition(begin)[0], text.partition(end)[2]
    return f"{head}{begin}\n\n{part}\n\n{end}{tail}"


#: Each generated page's name in docs/reference, and the function that returns its text.
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/codes.md": codes_page,
    "reference/python-names.md": python_page,
    "reference/fields.md": lambda: fields_page(MADE),
    "explanation/architecture.md": architecture_page,
    "explanation/trust.md": trust_page,
    "../README.md": readme,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")
