"""Can Azure ML's files be deployed as they stand?

It finds the files, holds each against azure-ai-ml and against what that lets pass, and tells what is wrong
where. Everything is offline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchscore.azureml.check.between import between
from batchscore.azureml.check.conda import conda_file_of, conda_findings
from batchscore.azureml.check.document import Document, Finding, read_document
from batchscore.azureml.check.kinds import KINDS, is_azureml, kind_of, scorings
from batchscore.azureml.check.rules import document_findings, scoring_findings
from batchscore.azureml.check.sdk import require_sdk, sdk_findings
from batchscore.errors import InputError

SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: `files` are the files that were held against the rules, `findings` in their order."""

    files: tuple[Path, ...]
    findings: tuple[Finding, ...]


def check_files(named: Sequence[Path]) -> Checked:
    """Check files, and in folders every YAML file that is Azure ML's.

    Raises `InputError` where there is nothing to check, `SettingsError` where azure-ai-ml is not installed.
    """
    require_sdk()
    documents: list[tuple[Document, str]] = []
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
            known = ", ".join(KINDS)
            lacks = "names none of" if document.get("$schema") else "is missing; it names one of"
            findings.append(document.finding(f"$schema {lacks} what can be checked ({known}).", "$schema"))
    if not documents and not findings:
        raise InputError(f"{', '.join(map(str, named))}: there is no YAML file of Azure ML.")
    for document, kind in documents:
        findings += _of_file(document, kind)
    findings += _of_conda_files(documents)
    findings += between(documents)
    files = tuple(document.path for document, _ in documents)
    return Checked(files, tuple(sorted(set(findings))))


def for_machines(checked: Checked) -> dict[str, Any]:
    """Return what was found as JSON can hold it."""
    return {
        "files": [str(path) for path in checked.files],
        "findings": [
            {"file": str(one.path), "line": one.line or None, "message": one.message}
            for one in checked.findings
        ],
    }


def _paths(named: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Give each file, and whether it was named itself."""
    for path in named:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            yield from ((file, False) for file in found)
        elif path.is_file():
            yield path, True
        else:
            raise InputError(f"{path}: there is no such file or folder.")


def _of_file(document: Document, kind: str) -> list[Finding]:
    ours = list(document_findings(document, kind))
    for scoring in scorings(document, kind):
        ours += scoring_findings(document, scoring)
    known = {(finding.path, finding.line) for finding in ours}
    theirs = sdk_findings(document, kind)
    # Where both speak of one line ours says what to do; a finding of theirs without a line often follows
    # from what a line lacks.
    return ours + [
        finding
        for finding in theirs
        if (finding.path, finding.line) not in known and (finding.line or not ours)
    ]


def _of_conda_files(documents: Sequence[tuple[Document, str]]) -> Iterator[Finding]:
    """Check each conda file once, however many name it; that one exists the SDK checks."""
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
