"""What is wrong in Azure ML's files that azure-ai-ml lets pass?

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
from batchscore.azureml.check.starting import start_problem
from batchscore.azureml.check.steps import step_findings
from batchscore.azureml.check.variables import deadline_seconds, file_problems, variable_problems
from batchscore.errors import SettingsError
from batchscore.settings.config_file import read_toml
from batchscore.settings.declare import CONFIG_VARIABLE

#: How endpoints and deployments are named (learn.microsoft.com, "Manage Azure Machine Learning limits").
_ENDPOINT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
#: Variables of a shell, and blanks that were left to be filled in; `${{…}}` are Azure ML's own expressions.
_UNFILLED = re.compile(r"\$(?!\{\{)\{?[A-Za-z_]\w*\}?|<[A-Za-z][\w -]*>")
#: The longest time of a call (learn.microsoft.com, the reference of parallel jobs).
_LONGEST_SECONDS = 259_200
#: Settings that a deployment reads below `settings` only, though its schema lets them stand at the top.
_BELOW_SETTINGS = ("error_threshold", "environment_variables")


def document_findings(document: Document, kind: str) -> Iterator[Finding]:
    """Give what holds for every file: keys that stand twice, blanks, names."""
    for steps in document.repeated:
        yield document.finding(f"{steps[-1]} stands here twice; the last one counts.", *steps)
    for steps, value in document.leaves():
        if isinstance(value, str) and steps[-1:] not in {("$schema",), ("description",)}:
            match = _UNFILLED.search(value)
            if match:
                message = f"{match.group()} is taken as it stands here; nothing fills it in."
                yield document.finding(message, *steps)
    if kind in {"endpoint", "deployment"}:
        name = document.get("name")
        if isinstance(name, str) and not _ENDPOINT_NAME.fullmatch(name):
            message = "a name has 3 to 32 letters, digits and dashes and begins with a letter."
            yield document.finding(f"{name!r}: {message}", "name")
    if kind == "endpoint" and document.get("auth_mode") not in {None, "aad_token"}:
        yield document.finding("auth_mode: batch endpoints know only aad_token.", "auth_mode")
    if kind == "deployment":
        yield from _deployment_findings(document)
    if kind == "schedule":
        yield from _schedule_findings(document)
    if kind == "pipeline":
        yield from step_findings(document)
    if kind == "compute":
        yield from _compute_findings(document)


def scoring_findings(document: Document, scoring: Scoring) -> Iterator[Finding]:
    """Give what is wrong with one place that runs the scoring script."""
    for steps, why in scoring.explicit.items():
        if document.get(*steps) is None:
            yield document.finding(f"{'.'.join(map(str, steps))} is not set ({why}).", *steps)
    for steps, known in scoring.closed.items():
        for key in sorted(document.table(*steps).keys() - known):
            yield document.finding(f"{key}: there is no such key here; nothing reads it.", *steps, key)
    yield from _script_findings(document, scoring)
    yield from environment_findings(document, scoring.environment)
    for steps, lowest in scoring.counts.items():
        count = whole(document.get(*steps))
        if count is not None and count < lowest:
            yield document.finding(f"{steps[-1]} is {count}; it must be at least {lowest}.", *steps)
    threshold = (*scoring.timeout[:-2], "error_threshold")
    if document.get(*threshold) not in {None, 0, "0"}:
        message = "error_threshold is not 0: a job whose files could not be scored would be green."
        yield document.finding(message, *threshold)
    variables = document.table(*scoring.variables)
    if document.get(*scoring.variables) and not variables:
        message = "environment_variables is no mapping; write NAME: value below it, a line each."
        yield document.finding(message, *scoring.variables)
        return
    in_file, wrong = _settings_file(document, scoring)
    for problem in wrong:
        yield document.finding(problem, *scoring.variables, CONFIG_VARIABLE)
    problems = list(variable_problems(variables, in_file))
    blanks = any(_UNFILLED.search(str(value)) for value in variables.values())
    seen = bool(in_file) or CONFIG_VARIABLE not in variables
    if seen and not wrong and not problems and not blanks and (reason := start_problem(variables, in_file)):
        problems = [("", f"the scoring script would end at once: {reason}")]
    for name, problem in problems:
        yield document.finding(problem, *scoring.variables, *([name] if name else []))
    yield from _time_findings(document, scoring, in_file)


def whole(value: object) -> int | None:
    """Return a whole number, also one in quotes; `None` for anything else, which the SDK tells."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _settings_file(document: Document, scoring: Scoring) -> tuple[Mapping[str, Any], list[str]]:
    """Return what the file says that BATCHSCORE_CONFIG names, and what is wrong with it.

    It goes along in the code folder; one that is elsewhere cannot be looked at.
    """
    named = document.table(*scoring.variables).get(CONFIG_VARIABLE)
    code, script = document.get(*scoring.code), document.get(*scoring.script)
    if not isinstance(named, str) or not named.strip() or os.path.isabs(named):  # noqa: PTH117
        return {}, []
    if not isinstance(code, str) or not isinstance(script, str) or ":" in code:
        return {}, []
    folder = (document.path.parent / code / script).parent
    try:
        found = read_toml(folder / named, f"{CONFIG_VARIABLE} {named}", beside_script=True)
    except SettingsError as error:
        return {}, [str(error)]
    return found, list(file_problems(found, named))


def _time_findings(document: Document, scoring: Scoring, in_file: Mapping[str, Any]) -> Iterator[Finding]:
    timeout = whole(document.get(*scoring.timeout))
    variables = document.table(*scoring.variables)
    if timeout is None or timeout < 1:
        return
    if timeout > _LONGEST_SECONDS:
        message = f"timeout is {timeout} s; a call may take {_LONGEST_SECONDS} s (three days) at most."
        yield document.finding(message, *scoring.timeout)
    if "BATCHSCORE_DEADLINE" not in variables and "deadline" not in in_file:
        message = f"BATCHSCORE_DEADLINE is not set: the host would kill the process after {timeout} s."
        yield document.finding(message + " Add one that is shorter.", *scoring.variables)
    seconds = deadline_seconds(variables, in_file)
    if seconds is not None and seconds >= timeout:
        message = f"the host kills the process after {timeout} s, before its own deadline of {seconds:g} s."
        yield document.finding(message, *scoring.timeout)


def _script_findings(document: Document, scoring: Scoring) -> Iterator[Finding]:
    code, script = document.get(*scoring.code), document.get(*scoring.script)
    for steps, value in ((scoring.code, code), (scoring.script, script)):
        if value is None:
            message = f"{steps[-1]} is not set: {scoring.what} would not run batchscore's script."
            yield document.finding(message, *steps)
    if not isinstance(code, str) or not isinstance(script, str) or ":" in code:
        return
    folder = document.path.parent / code
    if Path(script).is_absolute() or ".." in Path(script).parts:
        message = f"{script} is outside of the code folder, and only that goes along."
        yield document.finding(message, *scoring.script)
    elif not folder.is_dir():
        yield document.finding(f"{code}: there is no such folder.", *scoring.code)
    elif not (folder / script).is_file():
        yield document.finding(f"{script}: there is no such file in {code}.", *scoring.script)
    else:
        problem = script_problem(folder / script)
        if problem:
            yield Finding(Path(os.path.normpath(folder / script)), *problem)


def _deployment_findings(document: Document) -> Iterator[Finding]:
    for key in _BELOW_SETTINGS:
        if key in document.table():
            yield document.finding(f"{key} is not read here; write it below settings.", key)
    action = document.get("settings", "output_action")
    if action == "append_row":
        message = "output_action is append_row: the host would write one line a file into predictions.csv."
        yield document.finding(message + " Write summary_only.", "settings", "output_action")
    if document.get("type") != "model":
        yield document.finding("type is not set; write type: model", "type")
    model = document.get("model")
    if isinstance(model, str) and re.fullmatch(r"azureml:[^/:@]+", model):
        message = f"model is {model}, without a version; add :1, or @latest."
        yield document.finding(message, "model")


def _schedule_findings(document: Document) -> Iterator[Finding]:
    expression = document.get("trigger", "expression")
    if not isinstance(expression, str):
        return
    parts = expression.split()
    if len(parts) != 5:
        message = "expression: cron has five fields: minute, hour, day, month, weekday."
        yield document.finding(message, "trigger", "expression")
    elif parts[2:4] != ["*", "*"]:
        message = "expression: Azure ML does not read the fields of days and months; write * there."
        yield document.finding(message, "trigger", "expression")
    else:
        for part, most, what in ((parts[0], 59, "minute"), (parts[1], 23, "hour"), (parts[4], 6, "weekday")):
            if any(int(number) > most for number in re.findall(r"\d+", part)):
                message = f"expression: {part} is no {what}; the highest is {most}."
                yield document.finding(message, "trigger", "expression")


def _compute_findings(document: Document) -> Iterator[Finding]:
    fewest, most = whole(document.get("min_instances")), whole(document.get("max_instances"))
    if most is not None and most < max(1, fewest or 0):
        message = f"max_instances is {most}; it must be at least {max(1, fewest or 0)}."
        yield document.finding(message, "max_instances")
