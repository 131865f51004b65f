"""How do declared settings become a command's flags?

It gives click the declarations of our settings and of the simulator's, so that each setting is described in
one place. It knows no values.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, fields
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from batchscore.errors import SettingsError
from batchscore.settings.declare import (
    CONFIG_FILE,
    CONFIG_VARIABLE,
    REQUIRED,
    as_flag,
    kind_of,
    shown_default,
)
from batchscore.settings.fields import Settings
from batchscore.settings.near_names import KEY_NAMES, REQUEST_PARAMETERS, near_name
from batchscore.settings.secrets import mask_text, shown_words
from batchscore.simulator import SimulatorSettings
from batchscore.stores.address import StoredPath, place_of
from batchscore.task import TASKS

Command = TypeVar("Command", bound=Callable[..., Any])


class _Whole(click.types.IntParamType):
    """A whole number; click's own name of it is a word of programmers."""

    name = "whole number"


class _Number(click.types.FloatParamType):
    """A number, as `_Whole`."""

    name = "number"


def local_path(value: str) -> Path:
    """Return a path on this machine, as the type of an argument; raises `SettingsError`."""
    if isinstance(place_of(value), StoredPath):
        raise SettingsError(f"{value} is in a store. Name a path on this machine.")
    return Path(os.path.expanduser(value))  # noqa: PTH111 - as `place_of`


#: The types of values in click; all others are text.
CLICK_TYPES: Mapping[str, Any] = {"int": _Whole(), "float": _Number()}

#: How similar an option must be to be proposed in place of an unknown one; 1 is equal.
CLOSE_MATCH = 0.75

#: The heading of options that are not settings.
OWN_GROUP = "This command"


#: The names of all settings.
ALL = frozenset(declared.name for declared in fields(Settings))


#: The option that names the file of settings.
CONFIG_HELP = f"File of settings. Default: ${CONFIG_VARIABLE}, or ./{CONFIG_FILE}."
config_option = click.option("--config", metavar="FILE", help=CONFIG_HELP)


def all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that gives a command several options, in this order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def task_option(help_text: str) -> Callable[[Command], Command]:
    """Give a command that reads an output the option `--task`."""
    return click.option("--task", type=click.Choice(list(TASKS)), help=help_text)


def options_of(names: Collection[str], optional: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command one option for each of these settings, in the order of their declaration.

    The help marks required settings, except the `optional` ones.
    """

    def decorate(command: Command) -> Command:
        for declared in reversed(fields(Settings)):
            if declared.name in names and declared.metadata["only"] != "file":
                needed = declared.name in REQUIRED and declared.name not in optional
                command = click.option(*names_of(declared), **attributes_of(declared, needed=needed))(command)
        return command

    return decorate


def names_of(declared: Field[Any]) -> list[str]:
    """Return an option's spellings."""
    short = declared.metadata["flag"]
    return [declared.name, *([short] if short else []), as_flag(declared.name)]


def attributes_of(declared: Field[Any], *, needed: bool) -> dict[str, Any]:
    """Return an option's help and type. It has no default, so that a missing flag can be recognised."""
    facts = declared.metadata
    kind, shown = kind_of(declared), shown_default(declared)
    default = f"  [default: {shown}]" if shown else ""
    required = "  [required]" if needed else ""
    attributes: dict[str, Any] = {"help": facts["help"] + default + required, "default": None}
    if kind == "flag":
        return {**attributes, "is_flag": True}
    attributes["metavar"] = facts["metavar"] or ("N" if kind in {"int", "float"} else "NAME")
    if kind == "choice":
        attributes["type"] = click.Choice(facts["choices"])
        attributes["metavar"] = "|".join(facts["choices"])
    else:
        attributes["type"] = CLICK_TYPES.get(kind, str)
    attributes["multiple"] = kind in {"many", "params", "pairs"}
    return attributes


#: What the name of a value says of a path, which may hold any bytes; all other values are UTF-8.
PATH_WORDS = ("FILE", "FOLDER", "OUT", "PATH", "INPUT", "DIR")

#: The number of characters of a value that a message shows.
MOST_SHOWN = 60


class OneValueEach(click.Command):
    """A command that refuses two values of an option that takes one; click would take the last."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words."""
        refuse_two_values(self, ctx, args)
        return super().parse_args(ctx, args)


def refuse_two_values(command: click.Command, ctx: click.Context, words: Sequence[str]) -> None:
    """Raise `click.UsageError` if an option that takes one value is given twice.

    The words are read with every option repeatable, so that all values are known.
    """
    lenient = copy.copy(command)
    lenient.params = [copy.copy(param) for param in command.params]
    for param in lenient.params:
        if isinstance(param, click.Option):
            param.multiple = True
    given, _, _ = lenient.make_parser(ctx).parse_args(args=list(words))
    for param in command.params:
        values = given.get(param.name or "")
        if not isinstance(param, click.Option) or not isinstance(values, list):
            continue
        if not any(word in str(param.metavar) for word in PATH_WORDS):
            refuse_other_bytes(param.opts[-1], values, ctx)
        if param.multiple:
            continue
        if param.is_flag and len(set(values)) > 1:
            raise click.UsageError(
                f"{param.opts[-1]} and {param.secondary_opts[-1]} exclude each other.", ctx
            )
        if not param.is_flag and len(values) > 1:
            raise click.UsageError(f"{twice(param.opts[-1], values)} Give one of them.", ctx)


def refuse_other_bytes(flag: str, values: Sequence[Any], ctx: click.Context) -> None:
    """Raise `click.UsageError` for a text that is not UTF-8, which Python holds as halves of characters."""
    for value in values:
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise click.UsageError(f"{flag} is not UTF-8; check the encoding of your terminal.", ctx)


def twice(flag: str, values: Sequence[str]) -> str:
    """Return the sentence that an option has several values, with their secrets hidden."""
    shown = [shown_words([flag, value])[1] for value in values]
    cut = [f"{text[:MOST_SHOWN]}…" if len(text) > MOST_SHOWN else text for text in shown]
    times = "twice" if len(cut) == 2 else f"{len(cut)} times"
    return f"{flag} is given {times}: {', '.join(cut[:-1])} and {cut[-1]}."


class GroupedHelp(click.Command):
    """A command with settings: its help lists them by group, and an unknown option gets the right hint."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words. An unknown one is misspelled, or a parameter of the model."""
        try:
            refuse_two_values(self, ctx, args)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            plain, more = name.lower().lstrip("-").replace("-", "_"), ""
            flags = [flag for each in self.get_params(ctx) for flag in each.opts if flag.startswith("--")]
            known = {flag[2:].replace("-", "_"): flag for flag in flags}
            meant = near_name(plain, known, CLOSE_MATCH) if name.startswith("--") else None
            near = f" Did you mean '{known[meant]}'?" if meant else ""
            named = next((word for word in args if word.startswith(name) and os.path.lexists(word)), None)
            if named is not None:
                more, near = f" The file of this name is ./{mask_text(named)}.", ""
            elif name == "-v":
                more = " Give --verbose to see more of a run." if "verbose" in known else ""
                more += " The version is shown by: batchscore -V"
            elif plain in KEY_NAMES:
                more, near = " API keys are read from the environment: set BATCHSCORE_API_KEY.", ""
            elif plain in REQUEST_PARAMETERS and "param" in known:
                more = f" A parameter of the model is set by --param {plain}=VALUE."
            raise click.NoSuchOption(name, f"No such option {name}.{more}{near}", ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        group_of = {declared.name: declared.metadata["group"] for declared in fields(Settings)}
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                groups.setdefault(group_of.get(option.name or "", OWN_GROUP), []).append(record)
        # The command's own options come last.
        own = groups.pop(OWN_GROUP, [])
        for name, records in (*groups.items(), (OWN_GROUP, own)):
            with formatter.section(name):
                formatter.write_dl(records)


def simulator_options(command: Command) -> Command:
    """Give a command one option for every simulator setting."""
    for declared in reversed(fields(SimulatorSettings)):
        facts = declared.metadata
        flag = "--" + declared.name.replace("_", "-")
        attributes: dict[str, Any] = {"help": facts["help"], "default": None}
        if facts["kind"] is bool:
            attributes["is_flag"] = True
            flag = f"{flag}/--no-{flag[2:]}"
        else:
            attributes.update(type=facts["kind"], multiple=facts["many"], metavar=facts["metavar"])
        command = click.option(declared.name, flag, **attributes)(command)
    return command
