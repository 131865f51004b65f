"""Can the scoring script be meant with these environment variables?

It knows our settings and endpoints, not YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta

from batchscore.checks import check
from batchscore.configuration import parse
from batchscore.deadline import parse_deadline
from batchscore.declared import OTHER_VARIABLES, VARIABLE_PREFIX, variable_of
from batchscore.errors import UsageError
from batchscore.settings import Settings

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
#: Settings that the scoring script takes from its host, or that only a run with an output of its own has.
NOT_THERE = {
    "BATCHSCORE_MODEL": "the registered model says what to ask.",
    "BATCHSCORE_OUTPUT": "the host says where the scores go.",
    "BATCHSCORE_INCREMENTAL": "several workers write to the output, and one alone could tell what changed.",
}
_DECLARED = {variable_of(one): one for one in fields(Settings)}
_ENTRA_TYPES = ("azure_ad", "azuread")


def variable_problems(variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give the name and what is wrong of each variable; the name is empty where one is missing."""
    for name, value in variables.items():
        if not isinstance(value, str):
            yield name, f'{name} is not text; write it in quotes: "{str(value).lower()}".'
        elif name in SECRETS and value.strip():
            ways = "Sign in by Entra ID (BATCHSCORE_AUTH: entra), or name a Key Vault's secret in"
            yield name, f"{name} stands in the file for others to read. {ways} BATCHSCORE_API_KEY_FROM."
        elif name.startswith(VARIABLE_PREFIX):
            problem = _setting_problem(name, value)
            if problem:
                yield name, problem
    if not any(variables.get(name) for name in ENDPOINTS):
        yield "", f"no endpoint is set: add {ENDPOINTS[1]}, such as https://NAME.openai.azure.com"
    entra = variables.get("BATCHSCORE_AUTH") == "entra" or variables.get("OPENAI_API_TYPE") in _ENTRA_TYPES
    if not entra and not any(variables.get(name) for name in (*SECRETS, "BATCHSCORE_API_KEY_FROM")):
        yield "", "nothing says how to sign in: add BATCHSCORE_AUTH: entra"


def deadline_seconds(variables: Mapping[str, object]) -> float | None:
    """Return how long a call may take by its own deadline; `None` where that is not a duration."""
    try:
        found = parse_deadline(str(variables.get("BATCHSCORE_DEADLINE", "")))
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
        return str(error)
    if name == "BATCHSCORE_DEADLINE":
        try:
            if not isinstance(parse_deadline(value), timedelta):
                return (
                    f"{name} is a moment; on a host that calls again and again give a duration, such as 5h."
                )
        except UsageError as error:
            return str(error)
    return None
