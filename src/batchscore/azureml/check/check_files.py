"""Can Azure ML's files be deployed as they are?

It finds the files, checks each with azure-ai-ml and for mistakes that azure-ai-ml accepts, and reports each
mistake with its line. Everything is offline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchscore.azureml.check.conda import conda_file_of, conda_findings
from batchscore.azureml.check.cross_file import Described, cross_file_findings
from batchscore.azureml.check.document import Document, Finding, read_document
from batchscore.azureml.check.kinds import KINDS, is_azureml, kind_of, scorings
from batchscore.azureml.check.rules import document_findings, scoring_findings
from batchscore.azureml.check.sdk import require_sdk, sdk_findings
from batchscore.errors import InputError


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
    documents: list[Described] = []
    findings: list[Finding] = []
    for path, by_name in _paths(named):
        document = read_document(path)
        if isinstance(document, Finding):
            findings.append(document)
            continue
        kind = kind_of(document)
        if kind is not None:
            documents.append((document, kind))
        elif by_name or is_azureml(document):
            lacks = "names none of" if document.get("$schema") else "is missing; it names one of"
            message = f"$schema {lacks} what can be checked ({', '.join(KINDS)})."
            findings.append(document.finding(message, "$schema"))
    if not documents and not findings:
        raise InputError(f"{', '.join(map(str, named))}: there is no YAML file of Azure ML.")
    for document, kind in documents:
        findings += _findings_of(document, kind)
    findings += _conda_findings(documents)
    findings += cross_file_findings(documents)
    files = tuple(document.path for document, _ in documents)
    return Checked(files, tuple(sorted(set(findings))))


def to_json(checked: Checked) -> dict[str, Any]:
    """Return the result as JSON can hold it."""
    return {
        "files": [str(path) for path in checked.files],
        "findings": [
            {"file": str(one.path), "line": one.line or None, "message": one.message}
            for one in checked.findings
        ],
    }


def _paths(named: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Give each file, and whether the user named it."""
    for path in named:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix in (".yml", ".yaml") and file.is_file():
                    yield file, False
        elif path.is_file():
            yield path, True
        else:
            raise InputError(f"{path}: there is no such file or folder.")


def _findings_of(document: Document, kind: str) -> list[Finding]:
    ours = list(document_findings(document, kind))
    for scoring in scorings(document, kind):
        ours += scoring_findings(document, scoring)
    known = {(finding.path, finding.line) for finding in ours}
    # If both name the same line, ours says what to do. A finding of the SDK without a line often follows from
    # something that is missing.
    return ours + [
        finding
        for finding in sdk_findings(document, kind)
        if (finding.path, finding.line) not in known and (finding.line or not ours)
    ]


def _conda_findings(documents: Sequence[Described]) -> Iterator[Finding]:
    """Check each conda file once; the SDK checks that it exists."""
    brings: dict[Path, bool] = {}
    for document, kind in documents:
        places = [(scoring.environment, scoring.code) for scoring in scorings(document, kind)]
        if kind == "environment":
            places.append(((), ("code",)))
        for environment, code in places:
            named = conda_file_of(document, environment)
            if named is not None and named.is_file():
                file = Path(os.path.normpath(named))
                folder = document.path.parent / str(document.get(*code))
                brought = (folder / "batchscore").is_dir() or kind == "environment"
                brings[file] = brings.get(file, True) and brought
    for file, brought in brings.items():
        conda = read_document(file)
        if isinstance(conda, Finding):
            yield conda
        else:
            yield from conda_findings(conda, brings_package=brought)
