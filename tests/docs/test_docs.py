"""The docs say what the code does: generated pages are up to date, commands run, links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buckets import Bucket

if TYPE_CHECKING:
    from conftest import Cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from batchscore.configuration import resolve
from batchscore.errors import ErrorCode
from batchscore.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Flags of a real endpoint, which a rehearsal does without.
OF_AN_ENDPOINT = ("--endpoint", "--api-version", "--auth", "--deployment", "--api-key-from")

#: What the pages' sh blocks say and no test here runs, by how it begins, with the reason.
NOT_RUN = {
    "az ": "it asks Azure; tests/azureml runs the script that makes the same calls against a stand-in",
    "deployment/deploy-and-run.sh": "it asks Azure; tests/azureml runs it against a stand-in",
    "pip install": "it would change the environment of the tests",
    "batchscore model save": "what it saves is for Azure ML; the model's own tests run it",
    "batchscore check": "tests/azureml holds our own files and wrong ones against it",
    "batchscore merge named-outputs": "it reads what a job left; tests/azureml runs it in the script",
}

#: Calls of az in the guide that deploy-and-run.sh does not make, with the reason.
ONLY_IN_THE_GUIDE = {
    "az extension add": "once a machine",
    "az account set": "the script names the subscription in each call",
    "az configure": "the script names the workspace in each call",
    "az ml job create": "the script has no pipeline",
    "az ml schedule create": "the script has no schedule",
    "az keyvault secret set": "the script signs in without a key",
    "az keyvault show": "the script signs in without a key",
    "az cognitiveservices account keys list": "the script signs in without a key",
}


def is_run(line: str) -> bool:
    return not line.strip().startswith(tuple(NOT_RUN))


def commands() -> list[tuple[str, list[str]]]:
    """Give every `batchscore score` and `plan` of the docs' sh blocks, as a rehearsal."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            if "batchscore model save" in block:
                continue  # what it scores with is there only after it
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line)
                if words[:2] in (["batchscore", "score"], ["batchscore", "plan"]):
                    found.append((page.name, rehearsal(words[1:])))
    return found


def commands_after_score() -> list[tuple[str, list[list[str]]]]:
    """Give each sh block in which commands follow a `batchscore score`, as words."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if is_run(line)]
            ours = [words[1:] for words in lines if words[:1] == ["batchscore"]]
            if any(words[0] not in {"score", "plan"} for words in ours):
                found.append(
                    (page.name, [rehearsal(words) if words[0] == "score" else words for words in ours])
                )
    return found


def guide_lines() -> list[str]:
    """Give the commands of the guide to Azure ML, each on one line."""
    page = (ROOT / "docs" / "azure-ml.md").read_text("utf-8")
    found = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [re.sub(r" +", " ", line) for block in found for line in block.replace("\\\n", " ").splitlines()]


def az_calls(text: str) -> set[str]:
    """Give the calls of az in a text, without their flags."""
    return {call.strip() for call in re.findall(r"\b(az(?: [a-z][a-z-]+)+)", text)}


def rehearsal(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip or word in OF_AN_ENDPOINT:
            skip = not skip
            continue
        kept.append(word)
    return kept if "--simulate" in kept else [*kept, "--simulate"]


@pytest.mark.parametrize(("page", "words"), commands())
def test_every_command_of_the_docs_runs(
    page: str, words: list[str], command_line: Cli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    bucket = next((word.split("/")[2] for word in words if word.startswith("s3://")), None)
    environ: dict[str, str] = {}
    if bucket is not None:
        stored: Bucket = request.getfixturevalue("moto").bucket(bucket)
        stored.put("data/notes.csv", (ROOT / "data" / "notes.csv").read_bytes())
        environ.update(stored.environ)
    done = command_line(*words, env=environ, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(("page", "block"), commands_after_score())
def test_every_command_that_follows_a_score_runs(
    page: str, block: list[list[str]], command_line: Cli, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    for words in block:
        if words[0] == "simulate":
            continue
        done = command_line(*words, cwd=tmp_path)
        assert done.exit_code == 0, done.stderr


def test_every_command_of_the_guide_is_run_or_known() -> None:
    known = (*NOT_RUN, "export ", "batchscore score ", "JOB=$(az ", "PRINCIPAL=$(az ", "OPENAI_ID=$(az ")
    assert [line for line in guide_lines() if not line.startswith(known)] == []


def test_the_guide_makes_the_calls_of_the_script_with_its_files() -> None:
    script = (ROOT / "deployment" / "deploy-and-run.sh").read_text("utf-8")
    guide = "\n".join(guide_lines())
    made = az_calls(guide)
    assert made - az_calls(script) == ONLY_IN_THE_GUIDE.keys()
    files = re.findall(r"--file (\S+)", guide)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
    for name in ("Cognitive Services OpenAI User", "settings.environment_variables.AZURE_OPENAI_ENDPOINT="):
        assert name in script
        assert name in guide


def blocks(language: str) -> list[str]:
    """Give the blocks of a language in all pages."""
    return [
        block
        for page in PAGES
        for block in re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
    ]


@pytest.mark.parametrize(
    "code", [block for block in blocks("python") if re.search("score_rows|stream_rows|save_model", block)]
)
def test_every_python_example_of_the_docs_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_settings_file_of_the_docs_can_be_meant(text: str) -> None:
    required = {"task": "chat", "model": "gpt-4o-mini", "output": "out"}
    settings = resolve(required, environ={}, config=tomllib.loads(text))
    assert settings.deployments or settings.price_out


def test_the_settings_page_is_what_the_code_says() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "generate.py"))["settings_page"]()
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == page, "run python docs/generate.py"


def test_every_error_code_is_documented() -> None:
    page = (ROOT / "docs" / "output.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) >= {code.value for code in ErrorCode}


def test_every_flag_that_the_docs_name_exists() -> None:
    known = {name.replace("_", "-") for name in Settings.__dataclass_fields__} | {
        "config",
        "json",
        "quiet",
        "help",
        "repair",
    }
    text = "".join(
        (ROOT / "docs" / name).read_text("utf-8")
        for name in ("input.md", "output.md", "limits.md", "bounds.md", "scheduled.md")
    )
    named = set(re.findall(r"`--([a-z-]+)", text))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block is not None
    names = set(re.findall(r'"([a-z0-9-]+)', block.group(1)))
    reasons = set(
        re.findall(r"^\| ([a-z0-9-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    )
    assert reasons - {"package", "---"} == names
