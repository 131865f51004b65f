"""The locked packages are those that pyproject.toml allows, each with hashes and from no named registry."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / ".ci/lock.txt").read_text("utf-8")


def locked() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in LOCK.splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line.removesuffix("\\").strip())
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_each_requirement_is_locked_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = runpy.run_path(str(ROOT / ".ci/requirements.py"))["requirements"](project)
    packages = locked()
    for text in wanted:
        requirement = Requirement(text)
        versions = packages.get(canonicalize_name(requirement.name), [])
        assert versions, f"{text} is not in .ci/lock.txt; run .ci/lock"
        for one in versions:
            (version,) = one.specifier
            assert version.operator == "=="
            assert requirement.specifier.contains(version.version), f"{one} is not {text}; run .ci/lock"


def test_each_package_has_hashes_and_no_registry_is_named() -> None:
    for entry in re.split(r"\n(?=\w)", LOCK)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in LOCK
