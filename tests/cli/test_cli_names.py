"""Names of files and folders that a terminal would obey or hide: no text shows them as they are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli

#: A line break, an escape sequence, a change of the direction, and others that are invisible.
ODD = [
    "new\nline",
    "\nfirst",
    "esc\x1b[2J",
    "rtl\u202egnp",
    "tab\there",
    "cr\rx",
    "zw\u200bx",
    "nel\x85x",
    "ls\u2028x",
]
FOLDER, OUTPUT = "in\ndir\x1b[31m", "out\n\u2066x"
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\u2066]")


def shown(text: str) -> str:
    """Return a text of a command, without lines that a name has broken."""
    assert not HIDDEN.search(text), ascii(text)
    broken = {part for name in (*ODD, FOLDER, OUTPUT, "bad\nname") for part in name.split("\n")[1:] if part}
    begins = [line for line in text.splitlines() if line.startswith(tuple(broken))]
    assert not begins, begins
    return text


@pytest.mark.slow
def test_no_command_shows_an_odd_name_as_it_is(batchscore: Cli, deployment: Deployment) -> None:
    Path(FOLDER).mkdir()
    for name in ODD:
        Path(FOLDER, f"{name}.csv").write_text("id,text\n1,a b\n2,c d\n")
    Path(FOLDER, "bad\nname\u202e.csv").write_text("id,other\n1,x\n")
    options = ["--task", "embeddings", "-m", deployment.name, "--column", "text"]
    found = batchscore("score", FOLDER, "-o", OUTPUT, *options, "--id", "id")
    assert found.exit_code == 1
    shown(found.stderr)
    text = shown(found.stdout)
    assert r"cannot be scored: bad\u000aname\u202e.csv: no column 'text'" in text
    assert r"scores: out\u000a\u2066x/embeddings" in text
    # The command that is offered works when it is copied.
    Path(FOLDER, "bad\nname\u202e.csv").write_text("text,id\nx,1\n")
    command = text.splitlines()[-1].partition("run: ")[2]
    words = subprocess.check_output(["bash", "-c", f"printf '%s\\0' {command}"], text=True).split("\0")
    again = batchscore(*words[1:-1])
    assert again.exit_code == 0, again
    shown(again.stdout + again.stderr)
    parts = [file.read_bytes().splitlines() for file in sorted(Path(OUTPUT, "embeddings").iterdir())]
    records = [json.loads(line) for part in parts for line in part]
    assert {record["file"] for record in records} == {*(f"{name}.csv" for name in ODD), "bad\nname\u202e.csv"}

    Path(FOLDER, "bad\nname\u202e.csv").unlink()
    Path(FOLDER, "bad\nname\u202e.csv").write_text("")
    merged = "me\nrged.jsonl"
    commands = [
        ["verify", OUTPUT],
        ["report", OUTPUT],
        ["merge", OUTPUT, merged],
        ["merge", OUTPUT, merged],
        ["plan", FOLDER, "-o", OUTPUT, *options],
        ["score", FOLDER, "-o", OUTPUT, *options, "--id", "id", "--incremental", "--verbose"],
        ["evaluate", OUTPUT, "--labels", f"{FOLDER}/new\nline.csv", "--label", "none", "--on", "id"],
        ["score", f"{FOLDER}/no\nsuch", "-o", OUTPUT, *options],
        ["verify", "no\nsuch\x1b"],
        ["verify", OUTPUT, "--task", "x\x1b\u202e"],
    ]
    for words in commands:
        run = batchscore(*words)
        assert run.stdout or run.stderr
        shown(run.stdout + run.stderr)
    assert Path(merged).exists()
    assert r"<bdi>new\u000aline.csv</bdi>" in Path(OUTPUT, "report.html").read_text()
