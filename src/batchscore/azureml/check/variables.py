"""Would the scoring script's `init()` accept these environment variables?

It knows our settings and endpoints, not YAML. It checks what `init()` checks, with any model: what only the
registered model can say is left open. Nothing is sent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from batchscore.azureml.host import TEXT_COLUMN, column_of, errors_name_variables, name_variables
from batchscore.endpoint.target import endpoints_of
from batchscore.errors import BatchscoreError, SettingsError, UsageError
from batchscore.prompts.prompt import parse_spec
from batchscore.settings.checks import check, check_deployments
from batchscore.settings.config_file import ConfigFile
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import OTHER_VARIABLES, VARIABLE_PREFIX, variable_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, PromptSettings, cut
from batchscore.settings.sources import gather, parse
from batchscore.task import TASKS

#: Variables that may hold the endpoint.
ENDPOINTS = ("BATCHSCORE_ENDPOINT", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_BASE")
#: Variables that must not be in a file that many can read.
SECRETS = (
    *("BATCHSCORE_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"),
    *("AZURE_OPENAI_AD_TOKEN", "AZURE_CLIENT_SECRET"),
)
#: Names whose values are secrets, also those of other programs.
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CONNECTION_STRING)$", re.IGNORECASE)
#: Other variables that are read on a node; a name that is nearly one of these is a typo.
READ = (
    *(TEXT_COLUMN, *ENDPOINTS, *SECRETS, *OTHER_VARIABLES),
    *("OPENAI_API_VERSION", "OPENAI_API_TYPE", "OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE", "OPENAI_ORG_ID"),
    *("OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "DEFAULT_IDENTITY_CLIENT_ID"),
)
#: Similarity of names that differ in a letter or two.
_NEAR = 0.9
#: Variables that the host sets for each process.
_OF_THE_HOST = ("AZUREML_MODEL_DIR", "AZUREML_BI_OUTPUT_PATH", "AZUREML_NODE_COUNT")
#: Settings that the scoring script takes from its host, or that need an output of one run alone.
NOT_HERE = {
    "BATCHSCORE_MODEL": "the registered model says what to send.",
    "BATCHSCORE_OUTPUT": "the host says where the scores go.",
    "BATCHSCORE_INCREMENTAL": "several workers write to the output, and only one alone can list the changes.",
}
#: Settings that the model may have, or that may name a file of the node.
_OF_THE_MODEL = ("text_field", "messages")
_DECLARED = {variable_of(one): one for one in fields(Settings)}


def variable_problems(
    variables: Mapping[str, object], in_file: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Give the name and the mistake of each wrong variable; the name is empty if one is missing.

    `in_file` are the settings of the file that BATCHSCORE_CONFIG names.
    """
    for name, value in variables.items():
        if value is None:
            yield name, f"{name} has no value; write one after the colon, or remove the line."
        elif not isinstance(value, str):
            yield name, f'{name} is not text; write it in quotes: "{str(value).lower()}".'
        elif (name in SECRETS or _SECRET.search(name)) and value.strip():
            ways = "Sign in by Entra ID (BATCHSCORE_AUTH: entra), or name a Key Vault secret in"
            yield name, f"{name} is a secret, and others can read this file. {ways} BATCHSCORE_API_KEY_FROM."
        elif name.startswith(VARIABLE_PREFIX):
            problem = _setting_problem(name, value)
            if problem:
                yield name, problem
        elif name in _OF_THE_HOST:
            yield name, f"{name} does not belong here: the host sets it for each process."
        elif name not in READ:
            near = difflib.get_close_matches(name.upper(), (*READ, *_DECLARED), n=1, cutoff=_NEAR)
            if near:
                yield name, f"{name} is not read; did you mean {near[0]}?"
    if not any(variables.get(name) for name in ENDPOINTS) and not is_set_in(in_file, "endpoint"):
        yield "", f"no endpoint is set: add {ENDPOINTS[1]}, such as https://NAME.openai.azure.com"
    entra = signs_in_by_entra(variables)
    for name in ENDPOINTS if entra else ():
        if ".api.cognitive.microsoft.com" in str(variables.get(name)):
            message = "the address of a region; Entra ID works only with the resource's own"
            yield name, f"{name} is {message}, https://NAME.openai.azure.com"
    has_key = any(variables.get(name) for name in (*SECRETS, "BATCHSCORE_API_KEY_FROM"))
    if not entra and not has_key and not is_set_in(in_file, "auth", "api_key_from", "key_variable"):
        yield "", "no way to sign in is set: add BATCHSCORE_AUTH: entra"


def signs_in_by_entra(variables: Mapping[str, object]) -> bool:
    """Return whether the nodes need an identity: for the service, or for the vault that holds its key."""
    return (
        variables.get("BATCHSCORE_AUTH") == "entra"
        or variables.get("OPENAI_API_TYPE") in ("azure_ad", "azuread")
        or bool(variables.get("BATCHSCORE_API_KEY_FROM"))
    )


def is_set_in(in_file: Mapping[str, Any], *names: str) -> bool:
    """Return whether a file sets one of these, for the whole run or for each of its deployments."""
    tables = in_file.get("deployments")
    places = [{**in_file, **one} for one in tables] if isinstance(tables, list) and tables else [in_file]
    return all(any(place.get(name) for name in names) for place in places)


def file_problems(in_file: Mapping[str, Any], name: str) -> Iterator[str]:
    """Give the mistakes in the scoring script's settings file."""
    for variable, why in NOT_HERE.items():
        if _DECLARED[variable].name in in_file:
            yield f"{_DECLARED[variable].name} in {name} does not belong here: {why}"
    try:
        gather({}, environ={}, file=ConfigFile(name, in_file))
        tables = in_file.get("deployments", ())
        check_deployments(tables, rates=any(rate in in_file for rate in ("rpm", "tpm")))
    except (UsageError, SettingsError) as error:
        yield str(error)


def deadline_seconds(variables: Mapping[str, object], in_file: Mapping[str, Any]) -> float | None:
    """Return how long a call may take by its own deadline; `None` if that is not a duration."""
    try:
        found = parse_deadline(str(variables.get("BATCHSCORE_DEADLINE", in_file.get("deadline", ""))))
    except UsageError:
        return None
    return found.total_seconds() if isinstance(found, timedelta) else None


def start_problem(variables: Mapping[str, object], in_file: Mapping[str, Any]) -> str | None:
    """Return why `init()` would raise, whichever task the model has; `None` if it would not."""
    if any("${{" in str(value) for value in variables.values()):
        return None  # only the service knows the value of an expression
    left_open = [VARIABLE_PREFIX + name.upper() for name in _OF_THE_MODEL]
    environ = {name: str(value) for name, value in variables.items() if name not in left_open}
    in_file = {name: value for name, value in in_file.items() if name not in _OF_THE_MODEL}
    given = {"model": "any", "output": "/output", "shared_output": True, "column": column_of(environ)}
    reasons = []
    for task in TASKS:
        try:
            with errors_name_variables(environ):
                settings = Settings(
                    **gather({**given, "task": task}, environ=environ, file=ConfigFile(settings=in_file))[0]
                )
                parse_spec(cut(PromptSettings, settings))
                endpoints_of(cut(EndpointSettings, settings), environ, None)
        except BatchscoreError as error:
            reasons.append(str(error))
    return reasons[0] if len(reasons) == len(TASKS) else None


def _setting_problem(name: str, value: str) -> str | None:
    if name in NOT_HERE:
        return f"{name} does not belong here: {NOT_HERE[name]}"
    declared = _DECLARED.get(name)
    if declared is None:
        return None if name in OTHER_VARIABLES else f"{name}: there is no such setting."
    if declared.metadata["only"] is not None:
        return f"{name} is not read: this setting cannot be a variable."
    try:
        check(declared, parse(declared, value, name))
        if name == "BATCHSCORE_DEADLINE" and not isinstance(parse_deadline(value), timedelta):
            return f"{name} is a moment; since the host calls many times, set a duration, such as 5h."
    except UsageError as error:
        return name_variables(error.text, {name: value})
    return None
