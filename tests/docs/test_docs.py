"""The docs say what the code does: generated pages are up to date, commands run, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buckets import Bucket
from written import (
    CUSTOM_MODEL,
    DOCS,
    EVALUATION,
    PAGES,
    RECIPES,
    ROOT,
    TUTORIAL,
    Block,
    blocks,
    blocks_of,
    name_of,
    rehearsal,
    shown_files,
    write_products,
    write_tickets,
)

if TYPE_CHECKING:
    import prefork
    from conftest import Cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from batchscore.cli.main import cli
from batchscore.errors import ERROR_MEANINGS, EXIT_MEANINGS, TRANSIENT, ErrorCode, ExitCode
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.config_file import ConfigFile
from batchscore.simulator.batch.faults import CALLS, CUTS, LINE_FAULTS, TUNING_CALLS, CallFault, LineFault
from batchscore.simulator.batch.rules import BatchRules
from batchscore.simulator.finetune.rules import COLUMNS, ENCODINGS, FAILURES, MARKS, FineTuneRules
from batchscore.simulator.script import REPLY_WAYS, VECTOR_FAULTS, Behaviour

EMBEDDINGS = ("--task", "embeddings", "-m", "text-embedding-3-small", "--column", "text")

#: Of the sample data as much as the commands need.
SOME_DATA = ("notes.csv", "letters.tsv")

#: Pages whose commands belong together; they have tests of their own.
ALONE = {TUTORIAL, *RECIPES, *EVALUATION, CUSTOM_MODEL}

#: What the pages' sh blocks say and no test here runs, by how it begins, with the reason.
NOT_RUN = {
    "az ": "it asks Azure; tests/azureml runs the script that makes the same calls against a stand-in",
    "deployment/deploy-and-run.sh": "it asks Azure; tests/azureml runs it against a stand-in",
    "pip install": "it would change the environment of the tests",
    "batchscore check": "tests/azureml holds our own files and wrong ones against it",
    "batchscore merge named-outputs": "it reads what a job left; tests/azureml runs it in the script",
}

#: Flags that the pages name and no command has: of vLLM and az, and arguments of the Azure ML script.
NOT_OF_COMMANDS = {"--api-key", "--set", "--batchscore-base-dir", "--batchscore-model", "--batchscore-output"}

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
    """MLflow takes seconds to load, so `--track` is left to the tests of tracking."""
    return "--track" not in line and not line.strip().startswith(tuple(NOT_RUN))


def commands_alone() -> list[tuple[str, list[str]]]:
    """Give each `batchscore score` of the sh blocks, once where only the service or the model differs."""
    found: dict[str, tuple[str, list[str]]] = {}
    for page, block in sh_blocks():
        lines = [line for line in block.lines if line.startswith("batchscore ") and is_run(line)]
        for words in map(rehearsal, lines if all_score(lines) else ()):
            shape = re.sub(r"(?<= )(--model|-m) \S+", "", shlex.join(words))
            found.setdefault(shape, (name_of(page), words))
    return list(found.values())


def commands_together() -> list[tuple[str, list[list[str]]]]:
    """Give each sh block in which other commands than `score` are, as words."""
    found = []
    for page, block in sh_blocks():
        lines = [line for line in one_by_one(block.lines) if line.startswith("batchscore ") and is_run(line)]
        if not all_score(lines):
            found.append((name_of(page), [rehearsal(line) for line in lines]))
    return found


def one_by_one(lines: list[str]) -> Iterator[str]:
    """Give the commands of a block; those of a loop for each of its values, and none in the background."""
    name, values = "", [""]
    for line in lines:
        if loop := re.fullmatch(r"for (\w+) in ([\w ]+); do", line):
            name, values = f"${loop[1]}", loop[2].split()
        elif line == "done":
            name, values = "", [""]
        else:
            command = line.strip().removesuffix(" &")
            yield from (command.replace(name, value) if name else command for value in values)


def sh_blocks() -> Iterator[tuple[Path, Block]]:
    """Give the sh blocks that can be run anywhere; the tutorial has a test of its own."""
    for page in PAGES:
        for block in blocks_of(page, "sh") if page not in ALONE else ():
            yield page, block


def all_score(lines: list[str]) -> bool:
    return all(line.startswith("batchscore score ") for line in lines)


def guide_lines() -> list[str]:
    """Give the commands of the guide to Azure ML, each on one line."""
    return [line for block in blocks_of(DOCS / "how-to" / "azure-ml.md", "sh") for line in block.lines]


def az_calls(text: str) -> set[str]:
    """Give the calls of az in a text, without their flags."""
    return {call.strip() for call in re.findall(r"\b(az(?: [a-z][a-z-]+)+)", text)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder `data` in an empty one, as the pages' commands have it, but smaller."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in SOME_DATA:
        shutil.copy(ROOT / "data" / name, folder / name)
    write_products(tmp_path / "products")
    for page in PAGES:
        for name, text in shown_files(page).items():
            (tmp_path / name).write_text(text, "utf-8")
    write_tickets(tmp_path / "tickets.xlsx")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("page", "words"), commands_alone())
def test_every_command_of_the_docs_runs(
    page: str, words: list[str], batchscore: Cli, data: Path, request: pytest.FixtureRequest
) -> None:
    bucket = next((word.split("/")[2] for word in words if word.startswith("s3://")), None)
    # Variables and a settings file that the pages show beside these commands.
    environ = {"BATCHSCORE_APIM_KEY": "k"}
    (data.parent / "batchscore.toml").write_text("")
    if bucket is not None:
        stored: Bucket = request.getfixturevalue("moto").bucket(bucket)
        stored.put("data/notes.csv", (ROOT / "data" / "notes.csv").read_bytes())
        environ.update(stored.environ)
    done = batchscore(*words, env=environ, cwd=data.parent)
    assert done.exit_code == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), commands_together())
def test_commands_that_belong_together_run(
    page: str, block: list[list[str]], batchscore: Cli, data: Path
) -> None:
    for words in block:
        done = batchscore(*words, cwd=data.parent)
        assert done.exit_code == 0, done.stderr


def test_every_command_of_the_guide_is_run_or_known() -> None:
    known = (
        *NOT_RUN,
        "export ",
        "batchscore model save ",
        "batchscore score ",
        "JOB=$(az ",
        "PRINCIPAL=$(az ",
        "OPENAI_ID=$(az ",
    )
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


@pytest.mark.slow
def test_every_python_example_of_the_docs_runs(
    batchscore: Cli, imported: prefork.Server, data: Path, tmp_path: Path
) -> None:
    """All in one process, in a folder with a run's output; MLflow alone takes two seconds to load."""
    done = batchscore("score", "data", "-o", "scores", *EMBEDDINGS, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert batchscore("merge", "scores", "embeddings.jsonl", cwd=tmp_path).exit_code == 0
    examples = [
        (name_of(page), [block.code for block in blocks_of(page, "python") if "s3://" not in block.code])
        for page in PAGES
        if page not in ALONE
    ]
    (tmp_path / "examples.json").write_text(json.dumps(examples), "utf-8")
    variables = {**os.environ, **batchscore.environ}
    forked = imported.start(["examples.json"], variables, tmp_path, Path(__file__).with_name("run_blocks.py"))
    with forked.stdout, forked.stderr:
        said, problems = forked.communicate(600)
    assert forked.returncode == 0, problems
    assert said


@pytest.mark.slow
def test_the_examples_of_a_page_run_in_their_order_in_one_folder(
    batchscore: Cli, imported: prefork.Server, data: Path, tmp_path: Path
) -> None:
    page = DOCS / "how-to" / "structured-output.md"
    (command,) = [line for block in blocks_of(page, "sh") for line in block.lines]
    done = batchscore(*rehearsal(command), cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    examples = [(name_of(page), [block.code for block in blocks_of(page, "python")])]
    (tmp_path / "examples.json").write_text(json.dumps(examples), "utf-8")
    variables = {**os.environ, **batchscore.environ}
    forked = imported.start(["examples.json"], variables, tmp_path, Path(__file__).with_name("run_blocks.py"))
    with forked.stdout, forked.stderr:
        said, problems = forked.communicate(600)
    assert forked.returncode == 0, problems
    assert "summary" in said


def test_the_page_of_the_simulator_names_all_that_a_script_may_hold() -> None:
    page = (DOCS / "how-to" / "simulator.md").read_text("utf-8")
    names = [
        each.name
        for kind in (Behaviour, BatchRules, CallFault, FineTuneRules, LineFault)
        for each in fields(kind)
    ]
    names += [
        *CALLS,
        *TUNING_CALLS,
        *filter(None, (*COLUMNS, *ENCODINGS, *FAILURES, *MARKS)),
        *LINE_FAULTS,
        *CUTS,
        *REPLY_WAYS,
        *VECTOR_FAULTS,
    ]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_settings_file_of_the_docs_can_be_meant(text: str) -> None:
    required = {"task": "chat", "model": "m", "output": "out"}
    config = tomllib.loads(text)
    assert len(
        resolve_settings(required, environ={}, config=ConfigFile(settings=config)).settings.deployments
    ) == len(config.get("deployments", ()))


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.process
def test_the_made_pages_are_what_the_code_says(generator: dict[str, Any]) -> None:
    old = [name for name, make in generator["PAGES"].items() if (DOCS / name).read_text("utf-8") != make()]
    assert not old, "run python docs/generate.py"


def test_every_error_code_says_what_to_do() -> None:
    page = (DOCS / "how-to" / "errors.md").read_text("utf-8")
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == sorted(
        (code.value for code in ErrorCode), key=lambda name: page.index(f"### `{name}`")
    )
    assert ERROR_MEANINGS.keys() == set(ErrorCode)
    assert EXIT_MEANINGS.keys() == set(ExitCode)
    transient, standing = page.split("## Permanent errors")
    assert {code for code in ErrorCode if f"### `{code.value}`" in transient} == TRANSIENT
    assert {code for code in ErrorCode if f"### `{code.value}`" in standing} == set(ErrorCode) - TRANSIENT


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_every_module_that_a_map_of_the_code_names_exists(page: str) -> None:
    source = ROOT / "src" / "batchscore"
    named = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", (ROOT / page).read_text("utf-8"))
    ours = [name for name in named if (source / name.split("/")[0]).is_dir()]
    assert ours
    lost = [name for name in ours if not any((source / f"{name}{end}").exists() for end in ("", ".py"))]
    assert not lost


@cache
def words_of_the_code() -> set[str]:
    texts = (path.read_text("utf-8") for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py"))
    return {word for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_every_name_in_a_map_of_the_code_exists(page: str) -> None:
    named = re.findall(
        r"`(?:[A-Za-z_]+\.)?(_?[A-Z]\w{3,}|_?[a-z]+_[a-z_]+)`", (ROOT / page).read_text("utf-8")
    )
    ours = {name for name in named if not name.startswith("BATCHSCORE_")}
    assert ours
    assert not ours - words_of_the_code()


def test_every_flag_that_the_docs_name_exists(generator: dict[str, Any]) -> None:
    known = {
        flag
        for _, command in generator["commands_below"](cli, ())
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
    }
    texts = [page.read_text("utf-8").replace("\\\n", " ") for page in PAGES]
    named = {flag for text in texts for flag in re.findall(r"`(--[a-z][a-z0-9-]+)", text)}
    commands = [line for text in texts for line in re.findall(r"^ *batchscore [a-z].*", text, re.MULTILINE)]
    named |= {flag for line in commands for flag in re.findall(r" (--[a-z][a-z0-9-]+)", line)}
    assert named - known - {"--help", "--version"} == NOT_OF_COMMANDS


def test_every_page_is_in_the_menu_once() -> None:
    front = (DOCS / "index.md").read_text("utf-8")
    listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\): ", front, re.MULTILINE)
    pages = [page.relative_to(DOCS).as_posix() for page in PAGES if DOCS in page.parents]
    assert sorted([*listed, "index.md"]) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_table_has_a_head(page: Path) -> None:
    """A blank line in a table makes text of the rows below it."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    tables = [block.splitlines() for block in re.split(r"\n\s*\n", text) if block.startswith("|")]
    assert [table[0] for table in tables if len(table) < 2 or not re.fullmatch(r"[|\s:-]+", table[1])] == []


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block is not None
    names = set(re.findall(r'"([a-z0-9-]+)', block.group(1)))
    page = (DOCS / "explanation" / "dependencies.md").read_text("utf-8")
    reasons = set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE))
    assert reasons - {"package", "---"} == names


def test_lines_are_cut_at_newlines_only() -> None:
    """`splitlines` also cuts at characters that records hold within texts."""
    assert not [name_of(page) for page in PAGES if ".splitlines(" in page.read_text("utf-8")]
