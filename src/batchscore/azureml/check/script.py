"""Does the scoring script start, and does it get what it needs from its deployment or its pipeline step?

The script is parsed, never run: this machine may lack the packages that it imports. Variables are checked as
`init()` checks them, with any model: what only the registered model can say is left open. Nothing is sent.

A step has no AZUREML_MODEL_DIR and no AZUREML_BI_OUTPUT_PATH. Both are `program_arguments`, as references to
the step's inputs and outputs, which azure-ai-ml does not check.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchscore.azureml import host
from batchscore.azureml.check.document import Finding, Section
from batchscore.azureml.host import ARGUMENTS, SAMPLES_COLUMN, errors_name_variables
from batchscore.endpoint.target import endpoints_of
from batchscore.errors import BatchscoreError, SettingsError, UsageError
from batchscore.prompts.prompt import parse_spec
from batchscore.settings.checks import check, check_deployments
from batchscore.settings.config_file import ConfigFile, read_toml
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import CONFIG_VARIABLE, OTHER_VARIABLES, VARIABLE_PREFIX, variable_of
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import is_secret_name
from batchscore.settings.service_flags import ENDPOINT_VARIABLES
from batchscore.settings.slices import EndpointSettings, PromptSettings, cut
from batchscore.settings.sources import gather, parse
from batchscore.task import TASKS

#: Shell variables and placeholders that nobody filled in; `${{…}}` are Azure ML's own expressions.
UNFILLED = re.compile(r"\$(?!\{\{)\{?[A-Za-z_]\w*\}?|<[A-Za-z][\w -]*>")
#: The arguments that a step must give.
NEEDED = {
    "--batchscore-model": "${{inputs.model}}, the registered model",
    "--batchscore-output": "${{outputs.score}}, where the scores go",
}
#: The longest time of a call (learn.microsoft.com, the reference of parallel jobs).
LONGEST_SECONDS = 259_200
#: The host's own argument that lets a job succeed although files failed.
LENIENT = "--allowed_failed_percent"

VARIABLES, TIMEOUT = "settings.environment_variables", "settings.retry_settings.timeout"
CODE, SCRIPT = "code_configuration.code", "code_configuration.scoring_script"

#: Other variables that are read on a node; a name that is nearly one of these is a typo.
READ = (
    *(SAMPLES_COLUMN, *ENDPOINT_VARIABLES, *OTHER_VARIABLES),
    *("OPENAI_API_VERSION", "OPENAI_API_TYPE", "OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE", "OPENAI_ORG_ID"),
    *("OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "DEFAULT_IDENTITY_CLIENT_ID"),
)
#: Similarity of names that differ in a letter or two.
_NEAR = 0.9
_HOST_VARIABLES = ("AZUREML_MODEL_DIR", "AZUREML_BI_OUTPUT_PATH", "AZUREML_NODE_COUNT")
#: What the host decides, and settings that need an output of one run alone.
NOT_HERE = {
    **dict.fromkeys(_HOST_VARIABLES, "the host sets it for each process."),
    "BATCHSCORE_MODEL": "the registered model says what to send.",
    "BATCHSCORE_OUTPUT": "the host says where the scores go.",
    "BATCHSCORE_INCREMENTAL": "several workers write to the output, and only one alone can list the changes.",
}
#: Settings that the model may have, or that may name a file of the node.
_OF_THE_MODEL = ("text_field", "messages")
_DECLARED = {variable_of(one): one for one in fields(Settings)}


def script_findings(section: Section) -> Iterator[Finding]:
    """Give the mistakes in what a section gives to the scoring script."""
    script = _script_path(section)
    if script is not None:
        yield from _file_findings(section, script)
    if section.kind == "step":
        yield from _step_findings(section)
    variables = section.table(VARIABLES)
    if section.get(VARIABLES) and not variables:
        message = "environment_variables is not a mapping; write NAME: value, one per line below it."
        yield section.finding(message, VARIABLES)
        return
    in_file, wrong = _settings_file(variables, script)
    for problem in wrong:
        yield section.finding(problem, f"{VARIABLES}.{CONFIG_VARIABLE}")
    problems = list(_variable_problems(variables, in_file))
    unfilled = any(UNFILLED.search(str(value)) for value in variables.values())
    readable = bool(in_file) or CONFIG_VARIABLE not in variables
    if readable and not wrong and not problems and not unfilled:
        reason = _start_problem(variables, in_file)
        problems = [("", f"the scoring script would end at once: {reason}")] if reason else []
    for name, problem in problems:
        yield section.finding(problem, f"{VARIABLES}.{name}")
    text = str(section.get(TIMEOUT)).strip()
    timeout = int(text) if text.isdigit() else 0
    if timeout > LONGEST_SECONDS:
        message = f"timeout is {timeout} s; a call may take {LONGEST_SECONDS} s (three days) at most."
        yield section.finding(message, TIMEOUT)
    if timeout and "BATCHSCORE_DEADLINE" not in variables and "deadline" not in in_file:
        message = f"BATCHSCORE_DEADLINE is not set: the host would kill the process after {timeout} s."
        yield section.finding(f"{message} Set a shorter one.", VARIABLES)
    seconds = host.deadline_seconds(variables.get("BATCHSCORE_DEADLINE", in_file.get("deadline")))
    if seconds is not None and seconds >= timeout > 0:
        message = f"the host kills the process after {timeout} s, before its own deadline of {seconds:g} s."
        yield section.finding(message, TIMEOUT)


def script_problem(script: Path) -> tuple[int | None, str] | None:
    """Return the line and the mistake in a scoring script; `None` if the host can call it."""
    try:
        tree = ast.parse(script.read_bytes(), str(script))
    except OSError as error:
        return None, f"cannot be read: {error.strerror}."
    except (SyntaxError, ValueError) as error:
        return getattr(error, "lineno", None), "is not Python."
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined.update({alias.asname or alias.name: node for alias in node.names})
    missing = [f"{name}()" for name in ("init", "run") if name not in defined]
    if missing:
        return None, f"does not define {' and '.join(missing)}, which the batch host calls."
    run = defined["run"]
    if isinstance(run, ast.AsyncFunctionDef):
        return run.lineno, "run() is a coroutine; the batch host does not await it."
    if isinstance(run, ast.FunctionDef):
        takes, needs = len(run.args.args), len(run.args.args) - len(run.args.defaults)
        if needs > 2 or (takes < 1 and run.args.vararg is None):
            return run.lineno, "run() must take the mini-batch, and at most its context as well."
    return None


def _script_path(section: Section) -> Path | None:
    """Return the path of the scoring script; `None` if it is not set, or not on this machine."""
    code, script = section.get(CODE), section.get(SCRIPT)
    if not isinstance(code, str) or not isinstance(script, str) or ":" in code:
        return None
    return section.document.path.parent / code / script


def _file_findings(section: Section, path: Path) -> Iterator[Finding]:
    code, script = section.get(CODE), Path(section.get(SCRIPT))
    if script.is_absolute() or ".." in script.parts:
        message = f"{script} is outside of the code folder, and only that folder is uploaded."
        yield section.finding(message, SCRIPT)
    elif not (section.document.path.parent / code).is_dir():
        yield section.finding(f"{code}: there is no such folder.", CODE)
    elif not path.is_file():
        yield section.finding(f"{script}: there is no such file in {code}.", SCRIPT)
    elif problem := script_problem(path):
        yield Finding(Path(os.path.normpath(path)), *problem)


def _settings_file(
    variables: Mapping[str, object], script: Path | None
) -> tuple[Mapping[str, Any], list[str]]:
    """Return the settings of the file that BATCHSCORE_CONFIG names, and the mistakes in it.

    The file is beside the script; one that is elsewhere cannot be read here.
    """
    named = variables.get(CONFIG_VARIABLE)
    if script is None or not isinstance(named, str) or not named.strip() or Path(named).is_absolute():
        return {}, []
    try:
        found = read_toml(script.parent / named, f"{CONFIG_VARIABLE} {named}", beside_script=True)
    except SettingsError as error:
        return {}, [str(error)]
    return found, list(_file_problems(found, named))


def _step_findings(section: Section) -> Iterator[Finding]:
    """Give the mistakes in a step's arguments, references and identity."""
    arguments = section.get("task.program_arguments")
    for message in _argument_problems(arguments):
        yield section.finding(message, "task.program_arguments")
    for key in ("task.program_arguments", "input_data"):
        for kind, name in re.findall(r"\$\{\{\s*(inputs|outputs)\.([\w-]+)\s*\}\}", str(section.get(key))):
            if name not in section.table(kind):
                message = f"${{{{{kind}.{name}}}}}: the step has no such {kind[:-1]}."
                yield section.finding(message, key)
    entra = signs_in_by_entra(section.table(VARIABLES))
    if entra and not (section.get("identity") or section.document.values.get("identity")):
        message = "identity is not set: to sign in by Entra ID as the cluster add type: managed below it."
        yield section.finding(message, "identity")


def _argument_problems(text: object) -> Iterator[str]:
    """Give the mistakes in a step's `program_arguments`."""
    try:
        # An expression is one word, with or without spaces in it.
        words = shlex.split(re.sub(r"\s+(?=[^{}]*\}\})", "", text)) if isinstance(text, str) else []
    except ValueError:
        yield "program_arguments: a quote is not closed."
        return
    given = host.arguments_of(words)
    for name, what in NEEDED.items():
        if not given.get(name):
            yield f"{name} is missing among program_arguments: {what}."
    for name in given:
        if name.startswith("--batchscore") and name not in ARGUMENTS:
            yield f"{name}: the scoring script has no such argument."
    if given.get(LENIENT, "0") not in {"", "0"}:
        yield f"{LENIENT} is not 0: a job with unscored files would succeed."


#: Variables with which a gateway may need no key.
_GATEWAY = ("BATCHSCORE_HEADER", "BATCHSCORE_QUERY", "BATCHSCORE_CLIENT_CERT")


def _variable_problems(
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
        elif _is_secret(name) and value.strip():
            ways = "Sign in by Entra ID (BATCHSCORE_AUTH: entra), or name a Key Vault secret in"
            yield name, f"{name} is a secret, and others can read this file. {ways} BATCHSCORE_API_KEY_FROM."
        elif name in NOT_HERE:
            yield name, f"{name} does not belong here: {NOT_HERE[name]}"
        elif name.startswith(VARIABLE_PREFIX):
            if problem := _setting_problem(name, value):
                yield name, problem
        elif name not in READ:
            near = difflib.get_close_matches(name.upper(), (*READ, *_DECLARED), n=1, cutoff=_NEAR)
            if near:
                yield name, f"{name} is not read; did you mean {near[0]}?"
    if not any(variables.get(name) for name in ENDPOINT_VARIABLES) and not _is_set_in(in_file, "endpoint"):
        yield "", f"no endpoint is set: add {ENDPOINT_VARIABLES[1]}, such as https://NAME.openai.azure.com"
    entra = signs_in_by_entra(variables)
    for name in ENDPOINT_VARIABLES:
        if entra and ".api.cognitive.microsoft.com" in str(variables.get(name)):
            message = "the address of a region; Entra ID works only with the resource's own"
            yield name, f"{name} is {message}, https://NAME.openai.azure.com"
    has_key = any(_is_secret(name) or name in _GATEWAY for name in variables)
    signed = ("auth", "api_key_from", "key_variable", "header", "query", "client_cert")
    if not entra and not has_key and not _is_set_in(in_file, *signed):
        yield "", "no way to sign in is set: add BATCHSCORE_AUTH: entra"


def _is_secret(name: str) -> bool:
    """Whether a variable's value is a secret, which must not be in a file that many can read."""
    if name in _DECLARED or name.endswith("HEADERS"):
        return False
    return is_secret_name(name) or name.upper().endswith("KEY")


def signs_in_by_entra(variables: Mapping[str, object]) -> bool:
    """Return whether the nodes need an identity: for the service, or for the vault that holds its key."""
    return (
        variables.get("BATCHSCORE_AUTH") == "entra"
        or variables.get("OPENAI_API_TYPE") in ("azure_ad", "azuread")
        or bool(variables.get("BATCHSCORE_API_KEY_FROM"))
    )


def _is_set_in(in_file: Mapping[str, Any], *names: str) -> bool:
    """Return whether a file sets one of these, for the whole run or for each of its deployments."""
    tables = in_file.get("deployments")
    places = [{**in_file, **one} for one in tables] if isinstance(tables, list) and tables else [in_file]
    return all(any(place.get(name) for name in names) for place in places)


def _file_problems(in_file: Mapping[str, Any], name: str) -> Iterator[str]:
    """Give the mistakes in the scoring script's settings file."""
    for setting in in_file:
        if why := NOT_HERE.get(VARIABLE_PREFIX + setting.upper()):
            yield f"{setting} in {name} does not belong here: {why}"
    try:
        gather({}, environ={}, file=ConfigFile(name, in_file))
        tables = in_file.get("deployments", ())
        check_deployments(tables, rates=any(rate in in_file for rate in ("rpm", "tpm")))
    except (UsageError, SettingsError) as error:
        yield str(error)


def _start_problem(variables: Mapping[str, object], in_file: Mapping[str, Any]) -> str | None:
    """Return why `init()` would raise, whichever task the model has; `None` if it would not."""
    if any("${{" in str(value) for value in variables.values()):
        return None  # only the service knows the value of an expression
    left_open = [VARIABLE_PREFIX + name.upper() for name in _OF_THE_MODEL]
    environ = {name: str(value) for name, value in variables.items() if name not in left_open}
    in_file = {name: value for name, value in in_file.items() if name not in _OF_THE_MODEL}
    column = host.column_of_samples(environ)
    given = {"model": "any", "output": "/output", "shared_output": True, "column": column}
    file = ConfigFile(environ.get(CONFIG_VARIABLE, ""), in_file)
    reasons = []
    for task in TASKS:
        try:
            with errors_name_variables(environ):
                host.refuse_batches(environ, in_file)
                values, sources = gather({**given, "task": task}, environ=environ, file=file)
                settings = Settings(**values)
                parse_spec(cut(PromptSettings, settings))
                endpoints_of(cut(EndpointSettings, settings), environ, sources)
        except BatchscoreError as error:
            reasons.append(str(error))
    return reasons[0] if len(reasons) == len(TASKS) else None


def _setting_problem(name: str, value: str) -> str | None:
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
        return host.name_variables(error.text, {name: value})
    return None
