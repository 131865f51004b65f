"""The environment of the nodes: it has all that batchscore imports, and its pins go together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]

#: What has no place on the nodes, with the reason.
NOT_ON_THE_NODES = {"tomli": "only Python 3.10 needs it"}


def dependencies() -> list[str | dict[str, list[str]]]:
    found: list[str | dict[str, list[str]]] = yaml.safe_load(
        (ROOT / "environment" / "conda.yml").read_text("utf-8")
    )["dependencies"]
    return found


def pins() -> list[str]:
    return next(one["pip"] for one in dependencies() if isinstance(one, dict))


def test_the_nodes_have_what_batchscore_imports_in_versions_that_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [Requirement(text) for text in project["dependencies"]]
    pinned = {Requirement(text).name.lower(): Requirement(text) for text in pins()}
    for requirement in needed:
        if requirement.name in NOT_ON_THE_NODES:
            continue
        pin = pinned[requirement.name.lower()]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} is not {requirement}"


@pytest.mark.slow
def test_the_pins_resolve_and_import_in_a_clean_environment(tmp_path: Path) -> None:
    python = "python" + re.findall(r"python=([\d.]+)", str(dependencies()))[0]
    if shutil.which(python) is None:
        pytest.skip(f"{python} is not installed here")
    subprocess.run([python, "-m", "venv", tmp_path / "clean"], check=True)
    own = tmp_path / "clean" / "bin" / "python"
    # What conda installs in the real one, before pip.
    first = [one for one in dependencies() if isinstance(one, str) and not one.startswith(("python=", "pip"))]
    install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *first, *pins()], check=True, timeout=600)
    code = (
        "import azureml.core, azureml.dataprep.fuse, pkg_resources, pip, mlflow, azureml.mlflow; "
        "import batchscore.run.score_files, batchscore.api.score_rows, batchscore.endpoint.credentials; "
        "from openai import AzureOpenAI; from azure.identity import DefaultAzureCredential"
    )
    # As on a node: nothing of ours but the code folder.
    subprocess.run([own, "-W", "ignore", "-c", code], cwd=ROOT / "src", check=True, timeout=120)
