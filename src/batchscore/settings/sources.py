"""Which source of a setting wins, and how is its value read?

Flag beats `BATCHSCORE_…` variable beats config file beats default. The environment is an argument, and only
files that a flag names are opened. The declarations are in `fields`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

from batchscore.errors import UsageError, setting_name
from batchscore.settings.checks import (
    KEY_VARIABLE,
    PAIRS,
    PATHS,
    TYPES,
    check_type,
    name_text,
    named_variables,
)
from batchscore.settings.config_file import EMPTY_FILE, ConfigFile
from batchscore.settings.declare import (
    CONFIG_FILE,
    EVALUATE_TABLE,
    OTHER_VARIABLES,
    VARIABLE_PREFIX,
    as_flag,
    kind_of,
    variable_of,
)
from batchscore.settings.fields import Settings
from batchscore.settings.json_schema import schema_document
from batchscore.settings.near_names import near_name
from batchscore.settings.part_of import AUTO, part_of_launcher
from batchscore.settings.read_file import read_file
from batchscore.settings.secrets import HIDDEN, mask_text, shown_parameter

#: How people write true and false in variables.
TRUTHS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

#: Kinds whose empty values count as not given.
COLLECTIONS = frozenset({"many", "params", "pairs", "tables", "file_or_table"})


def gather(
    flags: Mapping[str, Any], *, environ: Mapping[str, str], file: ConfigFile = EMPTY_FILE
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the given settings, without defaults and not checked together, and the sources of some.

    The sources are the names of the variable or file, for settings without a flag; that of `config` is the
    file, if one was read. A flag that is `None` or empty list counts as not given, and so does an empty
    variable. Raises `UsageError`, also for a flag with a value of another type, or `SettingsError` for an
    unknown name in the file.
    """
    refuse_unknown(file)
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for declared in fields(Settings):
        name, variable = declared.name, variable_of(declared)
        flag, text = flags.get(name), environ.get(variable, "").strip()
        key = next((key for key in (name, name.replace("_", "-")) if key in file.settings), None)
        is_empty = isinstance(flag, (list, tuple, Mapping)) and not flag
        if flag is not None and not (is_empty and kind_of(declared) in COLLECTIONS):
            given[name] = argument(declared, flag)
        elif text and declared.metadata["only"] is None:
            given[name], sources[name] = parse(declared, text, variable), variable
        elif key is not None:
            given[name] = parse(declared, file.settings[key], f"{key} in {file.name}")
            sources[name] = file.name
    if file.digest:
        sources["config"] = f"./{file.name}" if file.is_implicit else file.name
    drop_overridden(given, sources, file)
    if given.get("part_of") == AUTO:
        given["part_of"] = part_of_launcher(environ)
    for name in PATHS & given.keys():
        if isinstance(given[name], str):
            given[name] = os.path.expanduser(given[name])  # noqa: PTH111
    return given, sources


#: The settings that decide where requests go or what signs them.
NEED_TRUST = frozenset(declared.name for declared in fields(Settings) if declared.metadata["needs_trust"])

#: What a flag or a variable overrides in [[deployments]] tables: with another service all of them are unused;
#: the other settings replace these keys. A table's `model` is its own name for the run's model.
OTHER_SERVICE = ("endpoint", "deployment")
REPLACED_KEYS: Mapping[str, tuple[str, ...]] = {
    "api_version": ("api_version",),
    "auth": ("auth",),
    "api_key_from": ("api_key_from", "key_variable"),
    **{name: (name,) for name in ("key_header", "header", "query", "client_cert", "client_key_file")},
}


def drop_overridden(given: dict[str, Any], sources: dict[str, str], file: ConfigFile) -> None:
    """Remove what the file says of services if flags or variables name another one, or the simulator.

    The source of `config` then says so.
    """
    of_file = {name for name, source in sources.items() if source == file.name}
    stronger = given.keys() - of_file
    unused = NEED_TRUST & of_file if given.get("simulate") else set()
    if "deployments" in of_file - unused:
        tables = given["deployments"]
        if any(name in table for name in stronger.intersection(OTHER_SERVICE) for table in tables):
            unused = {"deployments"}
        else:
            replaced = {key for name, keys in REPLACED_KEYS.items() if name in stronger for key in keys}
            given["deployments"] = tuple(
                {key: value for key, value in table.items() if key not in replaced} for table in tables
            )
    for name in unused:
        del given[name], sources[name]
    if unused and file.digest:
        names = ", ".join(f"[[{name}]]" if name == "deployments" else name for name in sorted(unused))
        sources["config"] += f" without {names}, which is overridden"


def argument(declared: Field[Any], value: Any) -> Any:
    """Return the value of a flag or an argument in the setting's type; raises `UsageError`.

    A path may be an object, a single name counts as a list, and any iterable may hold names or tables.
    """
    kind = kind_of(declared)
    if kind == "pairs" and isinstance(value, (list, tuple)):
        value = parse_pair_flags(declared.name, value)
    if declared.name in PATHS and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if declared.name == "schema" and not isinstance(value, str):
        value = schema_document(value)
    if kind == "many" and isinstance(value, str):
        value = (value,)
    elif kind in {"many", "tables"} and isinstance(value, Iterable):
        # The keys of a mapping are not meant, and a text is not a list of letters.
        value = value if isinstance(value, (str, bytes, Mapping)) else tuple(value)
    check_type(declared, value)
    return int(value) if kind == "int" else value


def without_settings(environ: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return an environment without the variables of some settings."""
    variables = {variable_of(declared) for declared in fields(Settings) if declared.name in names}
    return {name: value for name, value in environ.items() if name not in variables}


def unread_variables(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each `BATCHSCORE_…` variable that has no effect."""
    only = {variable_of(declared): declared.metadata["only"] for declared in fields(Settings)}
    keys = [str(table.get("key_variable")) for table in settings.deployments]
    for table in ({name: getattr(settings, name) for name in PAIRS}, *settings.deployments):
        values = [text for kind in PAIRS for text in table.get(kind, {}).values()]
        keys += [key for text in values for key in named_variables(text)]
    readable = {*OTHER_VARIABLES, *keys, *(name for name, source in only.items() if source is None)}
    names = {name.removeprefix(VARIABLE_PREFIX).lower(): name for name in readable}
    sentences = []
    for name in sorted(environ):
        if not name.startswith(VARIABLE_PREFIX) or name in readable or not environ[name].strip():
            continue
        near = near_name(name.removeprefix(VARIABLE_PREFIX), names)
        if KEY_VARIABLE.fullmatch(name):
            why = "no header, query parameter or [[deployments]] table of this run names it."
        elif only.get(name) == "flag":
            flag = as_flag(name.removeprefix(VARIABLE_PREFIX).lower())
            why = f"it can only be set as a flag, {flag}."
        elif only.get(name) == "file":
            why = f"it can only be set in {CONFIG_FILE}."
        else:
            why = f"did you mean {names[near]}?" if near else "there is no such setting."
        sentences.append(f"The variable {name} has no effect: {why}")
    return sentences


def refuse_unknown(file: ConfigFile) -> None:
    """Raise `UsageError` for a key that is not a setting, or not allowed in a file."""
    known = {declared.name: declared for declared in fields(Settings)}
    for key in file.settings.keys() - {EVALUATE_TABLE}:
        declared = known.get(key.replace("-", "_"))
        if declared is None:
            near = near_name(key, known)
            hint = f"; did you mean {near}?" if near else ""
            secret = " API keys belong into the environment." if "key" in key.lower() else ""
            raise UsageError(f"{file.name}: {name_text(key)} is not a setting{hint or '.'}{secret}")
        if declared.metadata["only"] == "flag":
            raise UsageError(f"{file.name}: {key} can only be given as a flag, {as_flag(declared.name)}.")


def parse(declared: Field[Any], value: Any, where: str) -> Any:
    """Convert the value of a variable or file into the setting's type; raises `UsageError`."""
    kind = kind_of(declared)
    has_type, wanted = TYPES.get(kind, TYPES["text"])
    try:
        found = PARSERS[kind](value) if kind in PARSERS else value
        fits = has_type(found)
    except (ValueError, TypeError, LookupError, RecursionError):
        fits = False
    if not fits:
        # Not quoted: it may be a pasted key.
        raise UsageError(f"{where} is not {wanted}.")
    return found


def parse_int(value: Any) -> int:
    """Return a whole number, given as text or number."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def parse_float(value: Any) -> float:
    """Return a number, given as text or number."""
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def parse_many(value: Any) -> Any:
    """Return names, given as a list, a JSON list, or separated by commas."""
    if isinstance(value, str):
        is_list = value.lstrip().startswith("[")
        value = json.loads(value) if is_list else [item.strip() for item in value.split(",")]
    return tuple(item for item in value if item != "") if isinstance(value, (list, tuple)) else value


def parse_json(value: Any) -> Any:
    """Return an object, given as such or as JSON."""
    return json.loads(value) if isinstance(value, str) else value


def parse_pair_flags(name: str, given: Sequence[Any]) -> dict[str, str]:
    """Parse texts `NAME=VALUE` of a setting; raises `UsageError`, which quotes no value."""
    pairs: dict[str, str] = {}
    for one in given:
        key, equals, text = one.partition("=") if isinstance(one, str) else ("", "", "")
        if not equals or not key.strip():
            raise UsageError(f"{setting_name(name)}: write NAME=VALUE, for example {PAIR_EXAMPLES[name]}")
        if key.strip() in pairs:
            raise UsageError(
                f"{setting_name(name)} {mask_text(key.strip())} is given twice. Give one of them."
            )
        pairs[key.strip()] = text.strip()
    return pairs


#: For each setting of pairs, one as people write it.
PAIR_EXAMPLES = {
    "header": "'Ocp-Apim-Subscription-Key=$BATCHSCORE_APIM_KEY'",
    "query": "'subscription-key=$BATCHSCORE_APIM_KEY'",
}


def read_text(name: str, where: str) -> str:
    """Return the text of a file that a setting names; raises `UsageError`."""
    try:
        return read_file(name).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{where} cannot be read: {reason}.") from None


def parse_param_flags(given: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=JSON` and `NAME=@FILE`; a bare word that is not JSON is a text.

    Raises `UsageError` if the form is wrong, or if a value starts like JSON but is not valid.
    """
    params: dict[str, Any] = {}
    param = setting_name("param")
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{param}: write NAME=JSON, for example temperature=0.2")
        where = f"{param} {mask_text(name)}"
        start = text.lstrip()[:1]
        must_be_json = start in {"{", "[", '"', ""} or start.isdigit() or text.startswith("@")
        if text.startswith("@"):
            where = f"{where}: {text[1:]}"
            text = read_text(text[1:], where)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            if must_be_json:
                raise UsageError(f"{where} is not JSON ({error}).") from None
            value = text
        if value == HIDDEN:
            raise UsageError(f"{where}: {HIDDEN} hides a secret in a shown command. Put the secret there.")
        if name.strip() in params:
            both = [shown_parameter(each) for each in given if each.partition("=")[0].strip() == name.strip()]
            raise UsageError(f"{where} is given twice: {both[0]} and {both[1]}. Give one of them.")
        params[name.strip()] = value
    return params


#: For each kind of setting that a variable or a file may write in other ways, what reads them.
PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "int": parse_int,
    "float": parse_float,
    "flag": lambda value: TRUTHS[str(value).strip().lower()],
    "many": parse_many,
    "params": parse_json,
    "pairs": parse_json,
    "tables": lambda value: tuple(value) if isinstance(value, list) else value,
}
