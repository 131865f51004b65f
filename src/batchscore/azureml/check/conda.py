"""Does a conda file hold what Azure ML's batch host needs?

The host needs azureml-core and azureml-dataset-runtime[fuse], calls `python -m pip`, and imports
pkg_resources, which setuptools 82 removed (learn.microsoft.com, "Author scoring scripts for batch
deployments", and reports of 2026-03).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from typing import TypeAlias

from batchscore.azureml.check.document import Document, Finding

#: Packages by name: the line of the file, and its key.
Packages: TypeAlias = "Mapping[str, tuple[str, str]]"

#: The first release of setuptools without pkg_resources is 82; 81 only warns.
LAST_SETUPTOOLS = 81


def conda_findings(document: Document, *, brings_package: bool) -> Iterator[Finding]:
    """Give what a conda file lacks; `brings_package`: the code folder holds batchscore itself."""
    conda = _packages(document, r"dependencies\.\d+")
    pip = _packages(document, r"dependencies\.\d+\.pip\.\d+")
    packages, absent = {**conda, **pip}, ("", "dependencies")
    for name in ("azureml-core", "azureml-dataset-runtime", "pip"):
        if name not in packages:
            yield document.finding(f"{name} is missing; the batch host needs it.", "dependencies")
    runtime, key = pip.get("azureml-dataset-runtime", absent)
    if runtime and "[fuse]" not in runtime.replace(" ", ""):
        message = "write azureml-dataset-runtime[fuse]: without it the host cannot mount the input."
        yield document.finding(message, key)
    for name, (text, key) in pip.items():
        if re.match(r"\.|/|-e\b|--editable|-r\b|file:", text):
            message = f"{text}: only this file is uploaded when the environment is built, no other."
            yield document.finding(message, key)
        elif "==" not in text and not text.startswith("-") and "@" not in text:
            message = f"{name} is not pinned (==): the environment would differ each time it is built."
            yield document.finding(message, key)
    text, key = packages.get("setuptools", absent)
    bounds = [int(number) - (sign == "<") for sign, number in re.findall(r"(<=|<|==|~=|=)\s*(\d+)", text)]
    if min(bounds, default=LAST_SETUPTOOLS + 1) > LAST_SETUPTOOLS:
        message = "pin setuptools<81: the batch host imports pkg_resources, which setuptools 82 removed."
        yield document.finding(message, key)
    text, key = conda.get("python", absent)
    if not re.search(r"=\s*3\.1[0-3]\b", text):
        message = "name a Python from 3.10 to 3.13, such as python=3.11: batchscore and the host need one."
        yield document.finding(message, key)
    if brings_package:
        yield from _requirement_findings(document, packages)
    elif not any("batchscore" in text for text, _ in pip.values()):
        message = "batchscore itself is missing: it is neither here nor in the code folder."
        yield document.finding(message, "dependencies")


def _requirement_findings(document: Document, packages: Packages) -> Iterator[Finding]:
    """Give requirements of batchscore that are missing or too old: the code folder brings no packages."""
    try:
        needed = requires("batchscore") or []
    except PackageNotFoundError:  # batchscore is not installed here, but runs from its folder
        return
    for requirement in needed:
        wanted, _, marker = requirement.partition(";")
        if "extra" in marker or "python_version" in marker:
            continue
        name = _name(requirement)
        if name not in packages:
            message = f"{name} is missing; batchscore imports it, and needs {wanted}."
            yield document.finding(message, "dependencies")
            continue
        text, key = packages[name]
        lowest, pinned = re.search(r">=([\d.]+)", requirement), re.search(r"==([\d.]+)", text)
        if lowest and pinned and _release(pinned[1]) < _release(lowest[1]):
            yield document.finding(f"{text}: batchscore needs {wanted}.", key)


def _packages(document: Document, keys: str) -> Packages:
    """Return the packages at the keys that a pattern matches."""
    return {
        _name(value): (value, key)
        for key, value in document.values.items()
        if isinstance(value, str) and re.fullmatch(keys, key)
    }


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number)


def _name(text: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", text)
    return match.group().lower().replace("_", "-") if match else text
