"""Which mistakes in Azure ML's files does azure-ai-ml accept?

Each rule is a small function from a document to findings. They know files, not the service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batchscore.azureml.check.conda import environment_findings
from batchscore.azureml.check.document import Document, Finding
from batchscore.azureml.check.kinds import Scoring
from batchscore.azureml.check.script import script_problem
from batchscore.azureml.check.steps import step_findings
from batchscore.azureml.check.variables import (
    deadline_seconds,
    file_problems,
    start_problem,
    variable_problems,
)
from batchscore.errors import SettingsError
from batchscore.settings.config_file import read_toml
from batchscore.settings.declare import CONFIG_VARIABLE

#: The names that endpoints and deployments may have (learn.microsoft.com, "Manage Azure Machine Learning
#: limits").
_ENDPOINT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
#: Shell variables and placeholders that nobody filled in; `${{…}}` are Azure ML's own expressions.
_UNFILLED = re.compile(r"\$(?!\{\{)\{?[A-Za-z_]\w*\}?|<[A-Za-z][\w -]*>")
#: The longest time of a call (learn.microsoft.com, the reference of parallel jobs).
_LONGEST_SECONDS = 259_200
#: Settings that a deployment reads only below `settings`, though its schema also allows them at the top.
_BELOW_SETTINGS = ("error_threshold", "environment_variables")


def document_findings(document: Document, kind: str) -> Iterator[Finding]:
    """Give the mistakes in a file as a whole: repeated keys, placeholders, names, and those of its kind."""
    for keys in document.repeated:
        yield document.finding(f"{keys[-1]} occurs twice here; only the last one counts.", *keys)
    for keys, value in document.leaves():
        if isinstance(value, str) and keys[-1:] not in {("$schema",), ("description",)}:
            match = _UNFILLED.search(value)
            if match:
                message = f"{match.group()} is used literally; no program replaces it here."
                yield document.finding(message, *keys)
    name = document.get("name")
    if kind in {"endpoint", "deployment"} and isinstance(name, str) and not _ENDPOINT_NAME.fullmatch(name):
        message = "a name has 3 to 32 letters, digits and dashes and begins with a letter."
        yield document.finding(f"{name!r}: {message}", "name")
    if kind == "endpoint" and document.get("auth_mode") not in {None, "aad_token"}:
        yield document.finding("auth_mode: batch endpoints support only aad_token.", "auth_mode")
    if kind == "deployment":
        yield from _deployment_findings(document)
    if kind == "schedule":
        problem = _cron_problem(document.get("trigger", "expression"))
        if problem:
            yield document.finding(f"expression: {problem}", "trigger", "expression")
    if kind == "pipeline":
        yield from step_findings(document)
    if kind == "compute":
        fewest, most = (
            whole_number(document.get("min_instances")),
            whole_number(document.get("max_instances")),
        )
        if most is not None and most < max(1, fewest or 0):
            message = f"max_instances is {most}; it must be at least {max(1, fewest or 0)}."
            yield document.finding(message, "max_instances")


def scoring_findings(document: Document, scoring: Scoring) -> Iterator[Finding]:
    """Give the mistakes in one place that runs the scoring script."""
    for keys, why in scoring.required.items():
        if document.get(*keys) is None:
            yield document.finding(f"{'.'.join(map(str, keys))} is not set ({why}).", *keys)
    for keys, known in scoring.known_keys.items():
        for key in sorted(document.table(*keys).keys() - known):
            yield document.finding(f"{key}: there is no such key here; it has no effect.", *keys, key)
    yield from _script_findings(document, scoring)
    yield from environment_findings(document, scoring.environment)
    for keys, lowest in scoring.lowest.items():
        number = whole_number(document.get(*keys))
        if number is not None and number < lowest:
            yield document.finding(f"{keys[-1]} is {number}; it must be at least {lowest}.", *keys)
    if document.get(*scoring.settings, "error_threshold") not in {None, 0, "0"}:
        message = "error_threshold is not 0: a job with unscored files would succeed."
        yield document.finding(message, *scoring.settings, "error_threshold")
    variables = document.table(*scoring.variables)
    if document.get(*scoring.variables) and not variables:
        message = "environment_variables is not a mapping; write NAME: value, one per line below it."
        yield document.finding(message, *scoring.variables)
        return
    in_file, wrong = _settings_file(document, scoring)
    for problem in wrong:
        yield document.finding(problem, *scoring.variables, CONFIG_VARIABLE)
    problems = list(variable_problems(variables, in_file))
    unfilled = any(_UNFILLED.search(str(value)) for value in variables.values())
    readable = bool(in_file) or CONFIG_VARIABLE not in variables
    if readable and not wrong and not problems and not unfilled:
        reason = start_problem(variables, in_file)
        problems = [("", f"the scoring script would end at once: {reason}")] if reason else []
    for name, problem in problems:
        yield document.finding(problem, *scoring.variables, *([name] if name else []))
    yield from _time_findings(document, scoring, in_file)


def whole_number(value: object) -> int | None:
    """Return an integer, also one in quotes; `None` for anything else, which the SDK reports."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _script_path(document: Document, scoring: Scoring) -> Path | None:
    """Return the path of the scoring script; `None` if it is not set, or not on this machine."""
    code, script = document.get(*scoring.code), document.get(*scoring.script)
    if not isinstance(code, str) or not isinstance(script, str) or ":" in code:
        return None
    return document.path.parent / code / script


def _settings_file(document: Document, scoring: Scoring) -> tuple[Mapping[str, Any], list[str]]:
    """Return the settings of the file that BATCHSCORE_CONFIG names, and the mistakes in it.

    The file is beside the script; one that is elsewhere cannot be read here.
    """
    named = document.table(*scoring.variables).get(CONFIG_VARIABLE)
    script = _script_path(document, scoring)
    if script is None or not isinstance(named, str) or not named.strip() or Path(named).is_absolute():
        return {}, []
    try:
        found = read_toml(script.parent / named, f"{CONFIG_VARIABLE} {named}", beside_script=True)
    except SettingsError as error:
        return {}, [str(error)]
    return found, list(file_problems(found, named))


def _time_findings(document: Document, scoring: Scoring, in_file: Mapping[str, Any]) -> Iterator[Finding]:
    timeout = whole_number(document.get(*scoring.timeout))
    variables = document.table(*scoring.variables)
    if timeout is None or timeout < 1:
        return
    if timeout > _LONGEST_SECONDS:
        message = f"timeout is {timeout} s; a call may take {_LONGEST_SECONDS} s (three days) at most."
        yield document.finding(message, *scoring.timeout)
    if "BATCHSCORE_DEADLINE" not in variables and "deadline" not in in_file:
        message = f"BATCHSCORE_DEADLINE is not set: the host would kill the process after {timeout} s."
        yield document.finding(f"{message} Set a shorter one.", *scoring.variables)
    seconds = deadline_seconds(variables, in_file)
    if seconds is not None and seconds >= timeout:
        message = f"the host kills the process after {timeout} s, before its own deadline of {seconds:g} s."
        yield document.finding(message, *scoring.timeout)


def _script_findings(document: Document, scoring: Scoring) -> Iterator[Finding]:
    code, script = document.get(*scoring.code), document.get(*scoring.script)
    for keys in (scoring.code, scoring.script):
        if document.get(*keys) is None:
            message = f"{keys[-1]} is not set: {scoring.what} would not run batchscore's script."
            yield document.finding(message, *keys)
    path = _script_path(document, scoring)
    if path is None:
        return
    if Path(script).is_absolute() or ".." in Path(script).parts:
        message = f"{script} is outside of the code folder, and only that folder is uploaded."
        yield document.finding(message, *scoring.script)
    elif not (document.path.parent / code).is_dir():
        yield document.finding(f"{code}: there is no such folder.", *scoring.code)
    elif not path.is_file():
        yield document.finding(f"{script}: there is no such file in {code}.", *scoring.script)
    elif problem := script_problem(path):
        yield Finding(Path(os.path.normpath(path)), *problem)


def _deployment_findings(document: Document) -> Iterator[Finding]:
    for key in _BELOW_SETTINGS:
        if key in document.table():
            yield document.finding(f"{key} is not read here; write it below settings.", key)
    if document.get("settings", "output_action") == "append_row":
        message = "output_action is append_row: the host would write one line per file into predictions.csv."
        yield document.finding(f"{message} Write summary_only.", "settings", "output_action")
    if document.get("type") != "model":
        yield document.finding("type is not set; write type: model", "type")
    model = document.get("model")
    if isinstance(model, str) and re.fullmatch(r"azureml:[^/:@]+", model):
        yield document.finding(f"model is {model}, without a version; add :1, or @latest.", "model")


def _cron_problem(expression: object) -> str | None:
    if not isinstance(expression, str):
        return None
    parts = expression.split()
    if len(parts) != 5:
        return "cron has five fields: minute, hour, day, month, weekday."
    if parts[2:4] != ["*", "*"]:
        return "Azure ML ignores the fields of days and months; write * there."
    for part, most, what in ((parts[0], 59, "minute"), (parts[1], 23, "hour"), (parts[4], 6, "weekday")):
        if any(int(number) > most for number in re.findall(r"\d+", part)):
            return f"{part} is not a valid {what}; the highest is {most}."
    return None
