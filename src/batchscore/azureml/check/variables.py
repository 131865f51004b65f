"""Can the scoring script be meant with these environment variables?

It knows our settings and endpoints, not YAML.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from batchscore.azureml.host import TEXT_COLUMN, in_variables
from batchscore.errors import SettingsError, UsageError
from batchscore.settings.checks import check, check_deployments
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import OTHER_VARIABLES, VARIABLE_PREFIX, variable_of
from batchscore.settings.fields import Settings
from batchscore.settings.sources import gather, parse

#: Where the endpoint can stand.
ENDPOINTS = ("BATCHSCORE_ENDPOINT", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_BASE")
#: What must not stand in a file that many can read.
SECRETS = (
    "BATCHSCORE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_CLIENT_SECRET",
)
#: Names whose values are secrets, whoever reads them.
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CONNECTION_STRING)$", re.IGNORECASE)
#: Other variables that are read on a node: a name that is nearly one of these is a slip.
READ = (
    *(TEXT_COLUMN, *ENDPOINTS, *SECRETS, *OTHER_VARIABLES),
    *("OPENAI_API_VERSION", "OPENAI_API_TYPE", "OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE", "OPENAI_ORG_ID"),
    *("OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "DEFAULT_IDENTITY_CLIENT_ID"),
)
#: As near as a letter or two left out or exchanged.
_NEAR = 0.9
#: What the host itself says to each process.
_OF_THE_HOST = ("AZUREML_MODEL_DIR", "AZUREML_BI_OUTPUT_PATH", "AZUREML_NODE_COUNT")
#: Settings that the scoring script takes from its host, or that only a run with an output of its own has.
NOT_THERE = {
    "BATCHSCORE_MODEL": "the registered model says what to ask.",
    "BATCHSCORE_OUTPUT": "the host says where the scores go.",
    "BATCHSCORE_INCREMENTAL": "several workers write to the output, and one alone could tell what changed.",
}
_DECLARED = {variable_of(one): one for one in fields(Settings)}
_ENTRA_TYPES = ("azure_ad", "azuread")
_OF_A_REGION = ".api.cognitive.microsoft.com"


def variable_problems(
    variables: Mapping[str, object], in_file: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Give the name and what is wrong of each variable; the name is empty where one is missing.

    `in_file` are the settings of the file that BATCHSCORE_CONFIG names.
    """
    for name, value in variables.items():
        if value is None:
            yield name, f"{name} has no value; write one after the colon, or leave the line out."
        elif not isinstance(value, str):
            yield name, f'{name} is not text; write it in quotes: "{str(value).lower()}".'
        elif (name in SECRETS or _SECRET.search(name)) and value.strip():
            ways = "Sign in by Entra ID (BATCHSCORE_AUTH: entra), or name a Key Vault's secret in"
            yield name, f"{name} stands in the file for others to read. {ways} BATCHSCORE_API_KEY_FROM."
        elif name.startswith(VARIABLE_PREFIX):
            problem = _setting_problem(name, value)
            if problem:
                yield name, problem
        elif name in _OF_THE_HOST:
            yield name, f"{name} has no place here: the host says it to each process itself."
        elif name not in READ:
            near = difflib.get_close_matches(name.upper(), (*READ, *_DECLARED), n=1, cutoff=_NEAR)
            if near:
                yield name, f"{name} is not read; did you mean {near[0]}?"
    if not any(variables.get(name) for name in ENDPOINTS) and not said_in_file(in_file, "endpoint"):
        yield "", f"no endpoint is set: add {ENDPOINTS[1]}, such as https://NAME.openai.azure.com"
    entra = signs_in_by_entra(variables)
    for name in ENDPOINTS if entra else ():
        if _OF_A_REGION in str(variables.get(name)):
            message = "the address of a region; Entra ID works with the resource's own"
            yield name, f"{name} is {message}, https://NAME.openai.azure.com"
    said = any(variables.get(name) for name in (*SECRETS, "BATCHSCORE_API_KEY_FROM"))
    if not entra and not said and not said_in_file(in_file, "auth", "api_key_from", "key_variable"):
        yield "", "nothing says how to sign in: add BATCHSCORE_AUTH: entra"


def signs_in_by_entra(variables: Mapping[str, object]) -> bool:
    """Whether the nodes need an identity: for the service, or for the vault that holds its key."""
    return (
        variables.get("BATCHSCORE_AUTH") == "entra"
        or variables.get("OPENAI_API_TYPE") in _ENTRA_TYPES
        or bool(variables.get("BATCHSCORE_API_KEY_FROM"))
    )


def said_in_file(in_file: Mapping[str, Any], *names: str) -> bool:
    """Whether a file sets one of these, for the whole run or for each of its deployments."""
    tables = in_file.get("deployments")
    places = (
        [in_file] if not isinstance(tables, list) or not tables else [{**in_file, **one} for one in tables]
    )
    return all(any(place.get(name) for name in names) for place in places)


def file_problems(in_file: Mapping[str, Any], name: str) -> Iterator[str]:
    """Give what is wrong with the settings of a file for the scoring script."""
    for variable, why in NOT_THERE.items():
        if _DECLARED[variable].name in in_file:
            yield f"{_DECLARED[variable].name} in {name} has no place here: {why}"
    try:
        gather({}, environ={}, config=in_file, config_name=name)
        tables = in_file.get("deployments", ())
        check_deployments(tables, rates=any(rate in in_file for rate in ("rpm", "tpm")))
    except (UsageError, SettingsError) as error:
        yield str(error)


def deadline_seconds(variables: Mapping[str, object], in_file: Mapping[str, Any]) -> float | None:
    """Return how long a call may take by its own deadline; `None` where that is not a duration."""
    try:
        found = parse_deadline(str(variables.get("BATCHSCORE_DEADLINE", in_file.get("deadline", ""))))
    except UsageError:
        return None
    return found.total_seconds() if isinstance(found, timedelta) else None


def _setting_problem(name: str, value: str) -> str | None:
    if name in NOT_THERE:
        return f"{name} has no place here: {NOT_THERE[name]}"
    declared = _DECLARED.get(name)
    if declared is None:
        return None if name in OTHER_VARIABLES else f"{name}: there is no such setting."
    if declared.metadata["only_flag"] or declared.metadata["only_file"]:
        return f"{name} is not read: it cannot be given as a variable."
    try:
        check(declared, parse(declared, value, name))
    except UsageError as error:
        return in_variables(error.text, {name: value})
    if name == "BATCHSCORE_DEADLINE":
        try:
            if not isinstance(parse_deadline(value), timedelta):
                return (
                    f"{name} is a moment; on a host that calls again and again give a duration, such as 5h."
                )
        except UsageError as error:
            return in_variables(error.text, {})
    return None
