"""Does a conda file hold what Azure ML's batch host needs?

Facts of the field: the host needs azureml-core and azureml-dataset-runtime[fuse], calls `python -m pip`, and
imports pkg_resources, which setuptools 82 removed (learn.microsoft.com, "Author scoring scripts for batch
deployments", and reports of 2026-03); curated environments are not supported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from batchscore.azureml.check.document import Document, Finding, Steps

HOST = ("azureml-core", "azureml-dataset-runtime")
#: The first release of setuptools without pkg_resources is 82; 81 only warns of it.
_SETUPTOOLS = re.compile(r"(<|<=|==|~=|=)\s*(\d+)")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def conda_findings(document: Document, *, brings_package: bool) -> Iterator[Finding]:
    """Give what a conda file lacks; `brings_package` tells that the code folder holds batchscore itself."""
    listed, pip = _packages(document)
    for name in HOST:
        if name not in pip and name not in listed:
            yield document.finding(f"{name} is missing; the batch host needs it.", "dependencies")
    runtime, steps = pip.get("azureml-dataset-runtime", ("", ()))
    if runtime and "[fuse]" not in runtime.replace(" ", ""):
        message = "write azureml-dataset-runtime[fuse]: without it the host cannot mount the input."
        yield document.finding(message, *steps)
    if "pip" not in listed:
        yield document.finding("pip is missing; the batch host calls it.", "dependencies")
    for found in (listed, pip):
        for name, (text, steps) in found.items():
            if found is pip and re.match(r"\.|/|-e\b|--editable|-r\b|file:", text):
                message = f"{text}: only this file goes along when the environment is built, no other."
                yield document.finding(message, *steps)
            elif found is pip and "==" not in text and not text.startswith("-") and "@" not in text:
                message = f"{name} is not pinned (==): the environment would be another one each time."
                yield document.finding(message, *steps)
    yield from _setuptools(document, {**listed, **pip})
    yield from _python(document, listed)
    if brings_package:
        yield from _imports(document, {**listed, **pip})
    elif not any("batchscore" in text for text, _ in pip.values()):
        message = "nothing brings batchscore itself: it is neither here nor in the code folder."
        yield document.finding(message, "dependencies")


def _imports(document: Document, found: dict[str, tuple[str, Steps]]) -> Iterator[Finding]:
    """Give what batchscore itself imports and nothing installs: the code folder brings no packages."""
    try:
        needed = requires("batchscore") or []
    except PackageNotFoundError:  # it is not installed here, but run from its folder
        return
    for requirement in needed:
        name, marker = _name(requirement), requirement.partition(";")[2]
        if "extra" in marker or "python_version" in marker:
            continue
        if name not in found:
            message = f"{name} is missing; batchscore imports it, and takes {requirement.partition(';')[0]}."
            yield document.finding(message, "dependencies")
            continue
        text, steps = found[name]
        lowest, pinned = re.search(r">=([\d.]+)", requirement), re.search(r"==([\d.]+)", text)
        if lowest and pinned and _release(pinned[1]) < _release(lowest[1]):
            yield document.finding(f"{text}: batchscore takes {requirement.partition(';')[0]}.", *steps)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number)


def environment_findings(document: Document, steps: Steps) -> Iterator[Finding]:
    """Give what is wrong with where an environment is described: inline, or by name."""
    value = document.get(*steps)
    if isinstance(value, str) and re.match(r"azureml:AzureML-|azureml://registries/azureml/", value):
        yield document.finding("curated environments are not supported by batch deployments.", *steps)
    if isinstance(value, dict) and "conda_file" not in value and "build" not in value:
        yield document.finding("conda_file is missing: a bare image has no batch host.", *steps)
    if isinstance(value, dict) and "image" not in value and "build" not in value:
        yield document.finding("image is missing: the conda file is installed into one.", *steps)
    if "/azureml/curated/" in str(document.get(*steps, "image")):
        message = "curated images are not supported by batch deployments; take mcr.microsoft.com/azureml/"
        yield document.finding(f"{message}openmpi4.1.0-ubuntu22.04:latest", *steps, "image")


def conda_file_of(document: Document, steps: Steps) -> Path | None:
    """Return the conda file that an environment names; `None` where it names none."""
    named = document.get(*steps, "conda_file")
    return document.path.parent / named if isinstance(named, str) else None


def _packages(document: Document) -> tuple[dict[str, tuple[str, Steps]], dict[str, tuple[str, Steps]]]:
    """Return conda's and pip's packages: name → what is written, and where."""
    listed: dict[str, tuple[str, Steps]] = {}
    pip: dict[str, tuple[str, Steps]] = {}
    for number, one in enumerate(document.get("dependencies") or ()):
        if isinstance(one, str):
            listed[_name(one)] = (one, ("dependencies", number))
        for below, text in enumerate(one.get("pip") or () if isinstance(one, dict) else ()):
            pip[_name(str(text))] = (str(text), ("dependencies", number, "pip", below))
    return listed, pip


def _name(text: str) -> str:
    match = _NAME.match(text)
    return match.group().lower().replace("_", "-") if match else text


def _setuptools(document: Document, found: dict[str, tuple[str, Steps]]) -> Iterator[Finding]:
    text, steps = found.get("setuptools", ("", ("dependencies",)))
    bounds = [int(number) - (sign == "<") for sign, number in _SETUPTOOLS.findall(text) if sign != ">"]
    if not bounds or min(bounds) > 81:
        message = "pin setuptools<81: the batch host imports pkg_resources, which setuptools 82 removed."
        yield document.finding(message, *steps)


def _python(document: Document, listed: dict[str, tuple[str, Steps]]) -> Iterator[Finding]:
    text, steps = listed.get("python", ("", ("dependencies",)))
    match = re.search(r"=\s*3\.(\d+)", text)
    if match is None or not 10 <= int(match.group(1)) <= 13:
        message = (
            "name a Python from 3.10 to 3.13, such as python=3.11: batchscore and the host run on these."
        )
        yield document.finding(message, *steps)
