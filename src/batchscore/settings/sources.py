"""Who wins when a flag, a variable and a file say different things, and how is each one read?

Flag beats `BATCHSCORE_…` variable beats config file beats default. It reads no environment of its own
and opens no file but those that a flag names; the declarations are in `settings`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from batchscore.errors import SettingsError, UsageError
from batchscore.settings.declare import CONFIG_FILE, OTHER_VARIABLES, VARIABLE_PREFIX, flag_of, variable_of
from batchscore.settings.fields import Settings
from batchscore.settings.prices import priced


def resolve(
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    config_name: str = CONFIG_FILE,
) -> Settings:
    """Merge flag > `BATCHSCORE_…` variable > config file > default into checked settings.

    Raises `UsageError`, or `SettingsError` for a name in the file that is no setting.
    """
    return Settings(**priced(gather(flags, environ=environ, config=config, config_name=config_name)))


def gather(
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    config_name: str = CONFIG_FILE,
) -> dict[str, Any]:
    """Return what was set by flag, variable or file, unchecked against one another; no defaults.

    A flag that is `None` or empty was not given; so was a variable that is empty.
    """
    config = dict(config or {})
    refuse_unknown(config, config_name)
    given: dict[str, Any] = {}
    for declared in fields(Settings):
        value = flags.get(declared.name)
        if value is None or value in ((), {}) or value is False:
            value = None
            if not declared.metadata["only_flag"]:
                value = from_elsewhere(declared, environ, config, config_name)
        if value is not None:
            given[declared.name] = value
    return given


def from_elsewhere(
    declared: Field[Any], environ: Mapping[str, str], config: Mapping[str, Any], config_name: str
) -> Any:
    """Return a setting's value from its variable, else from the config file, else `None`."""
    text = environ.get(variable_of(declared), "").strip()
    if text and not declared.metadata["only_file"]:
        return parse(declared, text, variable_of(declared))
    spelling = stands_in(declared, config)
    return None if spelling is None else parse(declared, config[spelling], f"{spelling} in {config_name}")


def stands_in(declared: Field[Any], config: Mapping[str, Any]) -> str | None:
    """Return how a setting is spelt in a config file, `None` where it is not in there."""
    spellings = (declared.name, declared.name.replace("_", "-"))
    return next((spelling for spelling in spellings if spelling in config), None)


def without_settings(environ: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return an environment without the variables of some settings."""
    variables = {variable_of(declared) for declared in fields(Settings) if declared.name in names}
    return {name: value for name, value in environ.items() if name not in variables}


def unread_variables(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return what is to be said of `BATCHSCORE_…` variables that nothing reads, a sentence each."""
    declared = {variable_of(one): one for one in fields(Settings)}
    only_flag = {name for name, one in declared.items() if one.metadata["only_flag"]}
    only_file = {name for name, one in declared.items() if one.metadata["only_file"]}
    keys = {str(table.get("key_variable")) for table in settings.deployments}
    readable = {*declared, *OTHER_VARIABLES, *keys} - only_flag - only_file
    sentences = []
    for name in sorted(environ):
        if not name.startswith(VARIABLE_PREFIX) or name in readable or not environ[name].strip():
            continue
        near = difflib.get_close_matches(name, readable, n=1, cutoff=0.75)
        if name in only_flag:
            why = f"it can only be given as a flag, {flag_of(declared[name])}."
        elif name in only_file:
            why = f"it can only stand in {CONFIG_FILE}."
        else:
            why = f"did you mean {near[0]}?" if near else "there is no such setting."
        sentences.append(f"The variable {name} is not read: {why}")
    return sentences


def refuse_unknown(config: Mapping[str, Any], config_name: str) -> None:
    """Raise `SettingsError` for a key that is no setting, or that may not stand in a file."""
    known = {declared.name: declared for declared in fields(Settings)}
    for key in config:
        declared = known.get(key.replace("-", "_"))
        if declared is None:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            secret = " Keys belong into the environment." if "key" in key.lower() else ""
            raise SettingsError(
                f"{config_name}: {key} is not a setting{hint}{'.' if not hint else ''}{secret}"
            )
        if declared.metadata["only_flag"]:
            raise SettingsError(f"{config_name}: {key} can only be given as a flag, {flag_of(declared)}.")


def parse(declared: Field[Any], value: Any, where: str) -> Any:
    """Turn what a variable or file holds into the setting's type; raises `UsageError`."""
    try:
        return PARSERS[declared.metadata["kind"]](value)
    except (ValueError, TypeError):
        raise UsageError(
            f"{where} is {value!r}, which is not {KIND_NAMES[declared.metadata['kind']]}."
        ) from None


def parse_text(value: Any) -> str:
    """Take a text as it is; refuse anything else."""
    if not isinstance(value, str):
        raise TypeError
    return value


def parse_int(value: Any) -> int:
    """Take a whole number, written or typed."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def parse_float(value: Any) -> float:
    """Take a finite number, written or typed."""
    number = float(value)
    if isinstance(value, bool) or number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124
        raise ValueError
    return number


def parse_flag(value: Any) -> bool:
    """Take true or false, as TOML or as people write it in variables."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ValueError
    return word in {"1", "true", "yes", "on"}


def parse_many(value: Any) -> tuple[str, ...]:
    """Take a list, a JSON list, or names with commas between."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(item.strip() for item in value if item.strip())


def parse_params(value: Any) -> dict[str, Any]:
    """Take an object, or the JSON of one."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise TypeError
    return value


def parse_param_flags(given: Sequence[str]) -> dict[str, Any]:
    """Turn `NAME=JSON` and `NAME=@FILE` into values; a bare word that is no JSON is text.

    Raises `UsageError` where the form is wrong or a value starts like JSON but is none.
    """
    params: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--param {one!r}: write NAME=JSON, for example --param temperature=0.2")
        where = f"--param {name}"
        if text.startswith("@"):
            where = f"--param {name}: {text[1:]}"
            try:
                text = Path(text[1:]).read_text("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise UsageError(f"{where} cannot be read: {reason}.") from None
            must_be_json = True
        else:
            must_be_json = text.lstrip()[:1] in {"{", "[", '"', ""} or text.lstrip()[:1].isdigit()
        try:
            params[name.strip()] = json.loads(text)
        except ValueError as error:
            if must_be_json:
                raise UsageError(f"{where} is not JSON ({error}).") from None
            params[name.strip()] = text
    return params


def parse_tables(value: Any) -> tuple[dict[str, Any], ...]:
    """Take TOML's array of tables."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise TypeError
    return tuple(value)


def parse_prices(value: Any) -> str | dict[str, Any]:
    """Take a file's name, or its tables by model."""
    if not isinstance(value, (str, dict)) or not value:
        raise TypeError
    return value


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "text": parse_text,
    "choice": parse_text,
    "int": parse_int,
    "float": parse_float,
    "flag": parse_flag,
    "many": parse_many,
    "params": parse_params,
    "tables": parse_tables,
    "prices": parse_prices,
}

KIND_NAMES = {
    "text": "text",
    "choice": "text",
    "int": "a whole number",
    "float": "a number",
    "flag": "true or false",
    "many": "a list of names",
    "params": 'an object of parameters, such as {"temperature": 0.2}',
    "tables": "a list of tables",
    "prices": "a file's name, or a table for each model",
}
