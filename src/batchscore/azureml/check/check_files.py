"""Can Azure ML's files be deployed as they are?

It finds the files, checks each with azure-ai-ml and for mistakes that azure-ai-ml accepts, and reports each
mistake with its line. Everything is offline. A table says which values are right; `script` checks what the
scoring script gets, `conda` its packages.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchscore.azureml.check.conda import conda_findings
from batchscore.azureml.check.document import KINDS, Document, Finding, Section, read_document
from batchscore.azureml.check.script import UNFILLED, script_findings, signs_in_by_entra
from batchscore.azureml.check.sdk import require_sdk, sdk_findings
from batchscore.errors import InputError

#: Right values of a deployment and of a step, because the service's defaults do not suit us.
_SCORING = {
    "code_configuration.code": (".+", "name the folder that is uploaded."),
    "code_configuration.scoring_script": (".+", "name the file in the code folder that the host calls."),
    "compute": (".+", "name the cluster."),
    "environment": (
        "(?!azureml:AzureML-|azureml://registries/azureml/).+",
        "describe one: curated environments are not supported by batch deployments.",
    ),
    "environment.image": (
        "(?!.*/azureml/curated/).*",
        "curated images are not supported; use mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
    ),
    "resources.instance_count": ("[1-9][0-9]*", "set the number of nodes."),
    "settings.mini_batch_size": ("[1-9][0-9]*", "set 1, one file per call: the host repeats whole calls."),
    "settings.max_concurrency_per_instance": (
        "[1-9][0-9]*",
        "set 1: one process sends many requests at once, and several would share one quota.",
    ),
    "settings.error_threshold": ("0", "set 0, so that a job with unscored files fails; the default is -1."),
    "settings.logging_level": (".+", "set info."),
    "settings.retry_settings.max_retries": (
        "[0-9]+",
        "set 3; the service's default is 3 for a deployment, 2 for a step.",
    ),
}
_LETTERS = "a name has 3 to 32 letters, digits and dashes and begins with a letter."
_NAME = ("|[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]", _LETTERS)
_NOT_HERE = ("", "it is not read here; write it below settings.")
_TIMEOUT = "set the seconds for one file; the service's default is"


def _cron_field(number: str) -> str:
    item = rf"(\*|{number}(-{number})?)(/[0-9]+)?"
    return rf"{item}(,{item})*"


_HOUR, _WEEKDAY = _cron_field("([01]?[0-9]|2[0-3])"), _cron_field("([0-6]|[A-Za-z]{3})")
_CRON = r"\s+".join([_cron_field("[0-5]?[0-9]"), _HOUR, r"\*", r"\*", _WEEKDAY])

#: By kind and key: the pattern of right values, which is empty for none, and what to do about others. The
#: rule for names is from learn.microsoft.com, "Manage Azure Machine Learning limits".
RULES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "endpoint": {"name": _NAME, "auth_mode": ("|aad_token", "batch endpoints support only aad_token.")},
    "deployment": {
        **_SCORING,
        "name": _NAME,
        "type": ("model", "write type: model"),
        "endpoint_name": (".+", "name the endpoint."),
        "model": ("(?!azureml:[^/:@]+$).+", "name a registered model with a version; add :1, or @latest."),
        "error_threshold": _NOT_HERE,
        "environment_variables": _NOT_HERE,
        "settings.output_action": (
            "(?i:summary_?only)",
            "write summary_only, or the host writes a line per file.",
        ),
        "settings.retry_settings.timeout": ("[1-9][0-9]*", f"{_TIMEOUT} 30."),
    },
    "step": {
        **_SCORING,
        "type": ("parallel", "write type: parallel"),
        "input_data": (".+", "name the input that is the folder of files."),
        "settings.retry_settings.timeout": ("[1-9][0-9]*", f"{_TIMEOUT} 60."),
        "task.append_row_to": ("", "remove it, or the host writes a line per file there."),
    },
    "compute": {"max_instances": ("|[1-9][0-9]*", "set at least 1.")},
    "schedule": {
        "trigger.expression": (
            rf"|\s*{_CRON}\s*",
            "write five fields: minute (0-59), hour (0-23), *, *, weekday (0-6). It ignores days and months.",
        ),
        "trigger.time_zone": (
            "|UTC.*|.* (Standard Time|Time Zone).*",
            "write a Windows time zone name, such as W. Europe Standard Time.",
        ),
    },
}

#: The keys of mappings of a step that azure-ai-ml does not check.
KNOWN_KEYS = {
    "settings.retry_settings": {"timeout", "max_retries"},
    "task": {"type", "code", "entry_script", "program_arguments", "append_row_to", "environment", "model"},
}


@dataclass(frozen=True, slots=True)
class Checked:
    """The `files` that were checked, and the `findings` by file and line."""

    files: tuple[Path, ...]
    findings: tuple[Finding, ...]


def check_files(named: Sequence[Path]) -> Checked:
    """Check files, and in folders every YAML file of Azure ML.

    Raises `InputError` if there is nothing to check, `SettingsError` if azure-ai-ml is not installed.
    """
    require_sdk()
    documents: list[Document] = []
    findings: set[Finding] = set()
    for path in _paths(named):
        document = read_document(path)
        if isinstance(document, Finding):
            findings.add(document)
        elif document.kind:
            documents.append(document)
        elif path in named or "azuremlschemas" in document.text or "endpoint_name" in document.values:
            message = f"$schema is missing, or it names none of what can be checked ({', '.join(KINDS)})."
            findings.add(document.finding(message, "$schema"))
    if not documents and not findings:
        raise InputError(f"{', '.join(map(str, named))}: there is no YAML file of Azure ML.")
    ours = set(own_findings(documents))
    known = {(finding.file, finding.line) for finding in ours}
    for document in documents:
        # If both name the same line, ours says what to do. A finding of the SDK without a line often follows
        # from something that is missing.
        has_ours = any(finding.file == document.path for finding in ours)
        for finding in sdk_findings(document):
            if (finding.file, finding.line) not in known and (finding.line or not has_ours):
                findings.add(finding)
    in_order = sorted(findings | ours, key=lambda one: (one.file, one.line or 0, one.message))
    return Checked(tuple(document.path for document in documents), tuple(in_order))


def _paths(named: Sequence[Path]) -> Iterator[Path]:
    for path in named:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file or folder.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        if stat.S_ISDIR(mode):
            yield from sorted(file for file in path.rglob("*.y*ml") if file.suffix in (".yml", ".yaml"))
        elif stat.S_ISREG(mode):
            yield path
        else:
            raise InputError(f"{path} is neither a file nor a folder.")


def own_findings(documents: Sequence[Document]) -> Iterator[Finding]:
    """Give the mistakes in the files, between them, and in the conda files that they name."""
    for document in documents:
        for key in document.repeated:
            name = key.rpartition(".")[2]
            yield document.finding(f"{name} occurs twice here; only the last one counts.", key)
        for key, value in document.values.items():
            match = UNFILLED.search(value) if isinstance(value, str) else None
            if match and not key.endswith(("$schema", "description")):
                message = f"{match.group()} is used literally; no program replaces it here."
                yield document.finding(message, key)
    sections = [section for document in documents for section in document.sections()]
    for section in sections:
        yield from _section_findings(section)
    yield from _conda_findings(sections)
    yield from _cross_file_findings(sections)


def _section_findings(section: Section) -> Iterator[Finding]:
    for key, (right, remedy) in RULES.get(section.kind, {}).items():
        value = section.get(key)
        text = "" if value is None else str(value)
        # Only the service knows the value of an expression.
        open_value = "${{" in text and right
        if not open_value and re.fullmatch(right, text, re.DOTALL) is None:
            shown = "not set" if value is None else "set" if isinstance(value, (dict, list)) else repr(value)
            yield section.finding(f"{section.key(key)} is {shown}; {remedy}", key)
    if section.kind == "step":
        for key, known in KNOWN_KEYS.items():
            for name in sorted(section.table(key).keys() - known):
                message = f"{name}: there is no such key here; it has no effect."
                yield section.finding(message, f"{key}.{name}")
    if section.kind in ("deployment", "step"):
        environment = section.table("environment")
        for key in {"image", "conda_file"} - environment.keys() if environment else ():
            if "build" not in environment:
                message = f"{key} is missing: the host's packages come from a conda file, on an image."
                yield section.finding(message, "environment")
        yield from script_findings(section)


def _conda_findings(sections: Sequence[Section]) -> Iterator[Finding]:
    """Check each conda file once; the SDK checks that it exists."""
    brings: dict[Path, bool] = {}
    for section in sections:
        folder = section.document.path.parent
        alone = section.kind == "environment"
        named = section.get("conda_file" if alone else "environment.conda_file")
        if isinstance(named, str) and (folder / named).is_file():
            file = Path(os.path.normpath(folder / named))
            code = folder / str(section.get("code_configuration.code"))
            brings[file] = brings.get(file, True) and (alone or (code / "batchscore").is_dir())
    for file, brought in brings.items():
        conda = read_document(file)
        if isinstance(conda, Finding):
            yield conda
        else:
            yield from conda_findings(conda, brings_package=brought)


def _cross_file_findings(sections: Sequence[Section]) -> Iterator[Finding]:
    """Give names that no file describes, or two, and nodes and identities that a cluster lacks.

    A kind of thing that no file describes may still exist in the workspace.
    """
    clusters = {each.get("name"): each for each in sections if each.kind == "compute"}
    endpoints = {each.get("name") for each in sections if each.kind == "endpoint"}
    first: dict[tuple[object, ...], Document] = {}
    for section in sections:
        document, kind = section.document, section.kind
        endpoint, name = section.get("endpoint_name"), section.get("name")
        if endpoints and endpoint is not None and endpoint not in endpoints:
            yield section.finding(f"no file describes an endpoint named {endpoint}.", "endpoint_name")
        if kind in ("deployment", "endpoint", "compute", "schedule") and isinstance(name, str):
            before = first.setdefault((kind, endpoint, name), document)
            if before is not document:
                other = f"{before.path.name} describes a {kind} named {name}, too"
                yield section.finding(f"{other}: one would replace the other.", "name")
        wanted = section.get("compute")
        if not clusters or not isinstance(wanted, str) or "/" in wanted:
            continue
        wanted = wanted.removeprefix("azureml:")
        cluster = clusters.get(wanted)
        if cluster is None:
            yield section.finding(f"no file describes a cluster named {wanted}.", "compute")
            continue
        nodes, most = section.get("resources.instance_count"), cluster.get("max_instances")
        if isinstance(nodes, int) and isinstance(most, int) and nodes > most > 0:
            message = f"instance_count is {nodes}, but the cluster {wanted} has at most {most} nodes."
            yield section.finding(message, "resources.instance_count")
        entra = signs_in_by_entra(section.table("settings.environment_variables"))
        if entra and not cluster.get("identity.type"):
            message = "identity is not set: nodes without one cannot sign in by Entra ID. Add"
            yield cluster.finding(f"{message} type: system_assigned below identity.", "identity")
