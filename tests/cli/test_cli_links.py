"""Links: nothing in an output is opened through one; the user's own are followed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore import read_scores
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

#: What a link may replace in an output, and whether it is a folder.
PLANTED = {
    ".batchscore/embeddings.lock": False,
    ".batchscore/journal-embeddings": True,
    ".batchscore/next-embeddings": True,
    ".batchscore": True,
    "embeddings": True,
    "errors": True,
    "errors/embeddings": True,
    "manifest/embeddings": True,
    "runs": True,
    "changes": True,
}

SECRET = "do not touch\n"


@pytest.fixture
def scored(batchscore: Cli, files: Files, deployment: Deployment) -> list[str]:
    """An output `base` of two rows; return the command for another output."""
    files.texts("in.csv", ["one", "two"])
    command = ["score", "in.csv", "--task", "embeddings", "-m", deployment.name, "--column", "text", "-o"]
    assert batchscore(*command, "base").exit_code == 0
    return command


def plant(output: str, name: str, *, folder: bool) -> Path:
    """Put a link into a copy of the output; return the file that it leads to."""
    shutil.copytree("base", output)
    target = Path("elsewhere", output)
    target.mkdir(parents=True)
    kept = target / "part-x-00000000-00000.jsonl" if folder else target / "file"
    kept.write_text(SECRET)
    place = Path(output, name)
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to((target if folder else kept).absolute())
    return kept


def test_a_planted_link_is_refused_and_its_target_stays(batchscore: Cli, scored: list[str]) -> None:
    kept = {}
    commands: list[list[str]] = []
    for number, (name, folder) in enumerate(PLANTED.items()):
        out = f"out{number}"
        kept[name] = plant(out, name, folder=folder)
        if name == ".batchscore":  # without a mark it is no output of ours for `verify`, but a folder
            commands.append([*scored, out, "--overwrite"])
        else:
            commands.append([*scored, out, "--overwrite"] if number % 2 else ["verify", out, "--repair"])
    for (name, file), run in zip(kept.items(), batchscore.together(*commands), strict=True):
        assert run.exit_code == 1, (name, run)
        assert f"{name} is a link. batchscore follows no links within an output" in run.stderr
        assert file.read_text() == SECRET
        assert len(list(file.parent.iterdir())) == 1


def test_a_link_in_place_of_a_part_or_a_manifest_is_damage(batchscore: Cli, scored: list[str]) -> None:
    """Also if it leads to the right bytes; the part is scored again and replaces the link."""
    (part,) = Path("base/embeddings").iterdir()
    (manifest,) = Path("base/manifest/embeddings").glob("*.json")
    for name, file in {"a": part, "b": manifest}.items():
        shutil.copytree("base", name)
        link = Path(name, file.relative_to("base"))
        link.unlink()
        link.symlink_to(file.absolute())
    before = part.read_bytes(), manifest.read_bytes()
    found, unread, merged = batchscore.together(
        ["verify", "a"], ["merge", "b", "b.jsonl"], ["merge", "a", "a.jsonl"]
    )
    assert (found.exit_code, unread.exit_code, merged.exit_code) == (1, 1, 1)
    assert f"{part.name}: is a link, not a file" in found.said.replace("embeddings/", "")
    assert "it is a link, and nothing in an output is read or written through one" in unread.stderr
    assert batchscore(*scored, "a").exit_code == 0
    assert (part.read_bytes(), manifest.read_bytes()) == before
    again = Path("a", part.relative_to("base"))
    assert (again.is_symlink(), again.read_bytes()) == (False, before[0])


def test_the_users_own_links_are_followed(batchscore: Cli, scored: list[str]) -> None:
    """A link as the output, and as the one file: the file that it leads to is written, and stays a link's."""
    Path("real").mkdir()
    for name, target in {"out": "real", "s.jsonl": "real/s.jsonl", "m.parquet": "real/m.parquet"}.items():
        Path(name).symlink_to(target)
    Path("real/s.jsonl").write_text("old")
    runs = batchscore.together(
        [*scored, "out"], [*scored, "s.jsonl", "--overwrite"], ["merge", "base", "m.parquet", "--overwrite"]
    )
    assert [run.exit_code for run in runs] == [0, 0, 0], runs
    assert Path("real/embeddings").is_dir()
    assert all(Path(name).is_symlink() for name in ("out", "s.jsonl", "m.parquet"))
    assert Path("real/s.jsonl").read_text().count("\n") == 2
    assert len(read_scores("s.jsonl")) == len(read_scores("m.parquet")) == len(read_scores("out")) == 2


def test_the_end_says_which_links_of_the_input_were_followed(batchscore: Cli, scored: list[str]) -> None:
    for name in ("data/sub", "private"):
        Path(name).mkdir(parents=True)
        Path(name, "a.csv").write_text("text\none\n")
    Path("data/pics").symlink_to("../private")
    Path("data/within").symlink_to("sub")
    command = ["score", "data", *scored[2:]]
    plain, followed, planned = batchscore.together(
        [*command, "plain"], [*command, "all", "--follow-links", "--json"], ["plan", *command[1:], "p"]
    )
    assert [run.exit_code for run in (plain, followed, planned)] == [0, 0, 0]
    out = "pics/: a link out of the input; --follow-links follows it"
    assert f"skipped: {out}" in plain.stdout
    assert f"skipped: {out}" in planned.stdout
    assert "private" not in plain.stdout
    private = {"name": "pics/", "target": str(Path("private").resolve())}
    end = json.loads(followed.stdout.splitlines()[-1])
    assert (end["rows"], end["links_followed"]) == (2, [private])
    (record,) = (json.loads(path.read_bytes()) for path in Path("plain/runs").iterdir())
    assert record["skipped"] == [
        {"name": "pics/", "reason": out.partition(": ")[2].replace("--follow-links", "follow_links=True")}
    ]
    assert record["links_followed"] == []
    (record,) = (json.loads(path.read_bytes()) for path in Path("all/runs").iterdir())
    assert record["links_followed"] == [private]
