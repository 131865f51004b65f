"""Print all requirements in pyproject.toml: of the package, its extras, its groups and its build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What an editable install of hatchling and `make` need besides.
OTHERS = ["editables", "pip>=25.1"]


def requirements(project: dict[str, Any]) -> list[str]:
    """Return all requirements, without the package itself."""
    extras = project["project"]["optional-dependencies"].values()
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *extras,
        *project["dependency-groups"].values(),
        OTHERS,
    ]
    return [each for found in lists for each in found if not each.startswith(project["project"]["name"])]


if __name__ == "__main__":
    print("\n".join(requirements(tomllib.loads(Path("pyproject.toml").read_text("utf-8")))))
