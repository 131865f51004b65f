"""Does a conda file hold what Azure ML's batch host needs?

The host needs azureml-core and azureml-dataset-runtime[fuse], calls `python -m pip`, and imports
pkg_resources, which setuptools 82 removed (learn.microsoft.com, "Author scoring scripts for batch
deployments", and reports of 2026-03). Curated environments are not supported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import TypeAlias

from batchscore.azureml.check.document import Document, Finding, Keys

#: Packages by name: the line of the file, and where it is.
Packages: TypeAlias = "Mapping[str, tuple[str, Keys]]"

HOST_PACKAGES = ("azureml-core", "azureml-dataset-runtime")
#: The first release of setuptools without pkg_resources is 82; 81 only warns.
LAST_SETUPTOOLS = 81


def conda_findings(document: Document, *, brings_package: bool) -> Iterator[Finding]:
    """Give what a conda file lacks; `brings_package`: the code folder holds batchscore itself."""
    conda, pip = _packages(document)
    packages = {**conda, **pip}
    missing = {name: "the batch host needs it." for name in HOST_PACKAGES if name not in packages}
    if "pip" not in conda:
        missing["pip"] = "the batch host calls it."
    for name, why in missing.items():
        yield document.finding(f"{name} is missing; {why}", "dependencies")
    runtime, keys = pip.get("azureml-dataset-runtime", ("", ()))
    if runtime and "[fuse]" not in runtime.replace(" ", ""):
        message = "write azureml-dataset-runtime[fuse]: without it the host cannot mount the input."
        yield document.finding(message, *keys)
    for name, (text, keys) in pip.items():
        if re.match(r"\.|/|-e\b|--editable|-r\b|file:", text):
            message = f"{text}: only this file is uploaded when the environment is built, no other."
            yield document.finding(message, *keys)
        elif "==" not in text and not text.startswith("-") and "@" not in text:
            message = f"{name} is not pinned (==): the environment would differ each time it is built."
            yield document.finding(message, *keys)
    text, keys = packages.get("setuptools", ("", ("dependencies",)))
    bounds = [int(number) - (sign == "<") for sign, number in re.findall(r"(<=|<|==|~=|=)\s*(\d+)", text)]
    if min(bounds, default=LAST_SETUPTOOLS + 1) > LAST_SETUPTOOLS:
        message = "pin setuptools<81: the batch host imports pkg_resources, which setuptools 82 removed."
        yield document.finding(message, *keys)
    text, keys = conda.get("python", ("", ("dependencies",)))
    version = re.search(r"=\s*3\.(\d+)", text)
    if version is None or not 10 <= int(version.group(1)) <= 13:
        message = (
            "name a Python from 3.10 to 3.13, such as python=3.11: batchscore and the host need one of these."
        )
        yield document.finding(message, *keys)
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
        text, keys = packages[name]
        lowest, pinned = re.search(r">=([\d.]+)", requirement), re.search(r"==([\d.]+)", text)
        if lowest and pinned and _release(pinned[1]) < _release(lowest[1]):
            yield document.finding(f"{text}: batchscore needs {wanted}.", *keys)


def environment_findings(document: Document, keys: Keys) -> Iterator[Finding]:
    """Give the mistakes in an environment, which is described inline or named."""
    value = document.get(*keys)
    if isinstance(value, str) and re.match(r"azureml:AzureML-|azureml://registries/azureml/", value):
        yield document.finding("curated environments are not supported by batch deployments.", *keys)
    if isinstance(value, dict) and "build" not in value:
        for key, why in (
            ("conda_file", "a bare image has no batch host."),
            ("image", "the conda file is installed into one."),
        ):
            if key not in value:
                yield document.finding(f"{key} is missing: {why}", *keys)
    if "/azureml/curated/" in str(document.get(*keys, "image")):
        message = "curated images are not supported by batch deployments; use mcr.microsoft.com/azureml/"
        yield document.finding(f"{message}openmpi4.1.0-ubuntu22.04:latest", *keys, "image")


def conda_file_of(document: Document, environment: Keys) -> Path | None:
    """Return the conda file that an environment names; `None` if it names none."""
    named = document.get(*environment, "conda_file")
    return document.path.parent / named if isinstance(named, str) else None


def _packages(document: Document) -> tuple[Packages, Packages]:
    """Return conda's and pip's packages."""
    conda: dict[str, tuple[str, Keys]] = {}
    pip: dict[str, tuple[str, Keys]] = {}
    for keys, value in document.leaves():
        if keys[:1] != ("dependencies",) or not isinstance(value, str):
            continue
        if len(keys) == 2:
            conda[_name(value)] = (value, keys)
        elif keys[2:3] == ("pip",):
            pip[_name(value)] = (value, keys)
    return conda, pip


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number)


def _name(text: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", text)
    return match.group().lower().replace("_", "-") if match else text
