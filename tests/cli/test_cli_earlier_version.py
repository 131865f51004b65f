"""An output that a development version left before 0.1.0 is resumed: nothing in it is paid for twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Cli

#: `batchscore score in.csv -o out --simulate --task embeddings -m m --dimensions 4 --column text --limit 3`
EARLIER = Path(__file__).with_name("earlier_version")


def test_an_output_of_an_earlier_version_is_resumed(batchscore: Cli, tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    kept = Path("out/embeddings/part-in-25837db6-00000.jsonl").read_text("utf-8")
    command = ["score", "in.csv", "-o", "out", "--simulate", "--task", "embeddings", "-m", "m", "--json"]
    run = batchscore(*command, "--dimensions", "4", "--column", "text")
    assert run.exit_code == 0, run.stderr
    assert (run.report["rows"], run.report["ok"], run.report["known"]) == (4, 3, 3)
    assert run.report["requests"] == 1
    (part,) = Path("out/embeddings").iterdir()
    records = part.read_text("utf-8")
    assert records.startswith(kept)
    assert [json.loads(line)["row"] for line in records.splitlines()] == [0, 1, 3]
    assert batchscore("verify", "out").exit_code == 0
