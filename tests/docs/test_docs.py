"""The docs say what the code does: generated pages are up to date, commands run, links lead somewhere."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from buckets import Bucket

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
OF_AN_ENDPOINT = ("--endpoint", "--api-version", "--auth", "--deployment")


def commands() -> list[tuple[str, list[str]]]:
    """Give every `batchscore score` command of the docs' sh blocks, as a rehearsal."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            if "batchscore model save" in block:
                continue  # what it scores with is there only after it
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line)
                if words[:2] == ["batchscore", "score"]:
                    found.append((page.name, rehearsal(words[1:])))
    return found


def commands_after_score() -> list[tuple[str, list[list[str]]]]:
    """Give each sh block in which commands follow a `batchscore score`, as words."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
            ours = [words[1:] for words in lines if words[:1] == ["batchscore"]]
            if any(words[0] != "score" for words in ours):
                found.append(
                    (page.name, [rehearsal(words) if words[0] == "score" else words for words in ours])
                )
    return found


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
    page: str, words: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    bucket = next((word.split("/")[2] for word in words if word.startswith("s3://")), None)
    environ = dict(os.environ)
    if bucket is not None:
        stored: Bucket = request.getfixturevalue("moto").bucket(bucket)
        stored.put("data/notes.csv", (ROOT / "data" / "notes.csv").read_bytes())
        environ.update(stored.environ)
    done = subprocess.run(
        [sys.executable, "-m", "batchscore", *words],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "block"), commands_after_score())
def test_every_command_that_follows_a_score_runs(page: str, block: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    for words in block:
        if words[0] == "simulate":
            continue
        done = subprocess.run(
            [sys.executable, "-m", "batchscore", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


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
    required = {"task": "chat", "model": "m", "output": "out"}
    assert resolve(required, environ={}, config=tomllib.loads(text)).deployments


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
