"""What a killed process has left is removed, and what another one is writing stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchscore.stores.half_written import STALE_SECONDS, open_temporary, sweep, sweep_abandoned
from batchscore.stores.storage import replace_file

WRITER = """
import sys, time
from pathlib import Path
from batchscore.stores.storage import replace_file
with replace_file(Path(sys.argv[1])) as sink:
    sink.write(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def test_the_owner_of_a_folder_removes_all(tmp_path: Path) -> None:
    for name in (".batchscore-old.tmp", "part.jsonl"):
        (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path)
    sweep(tmp_path / "not there")
    assert [path.name for path in tmp_path.iterdir()] == ["part.jsonl"]


def test_in_a_shared_folder_a_file_that_is_being_written_stays(tmp_path: Path) -> None:
    other, old = tmp_path / ".batchscore-1234abcd-0.tmp", tmp_path / ".batchscore-1234abcd-1.tmp"
    for path in (other, old):  # of another machine
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - STALE_SECONDS - 1))
    with replace_file(tmp_path / "a.jsonl") as sink:
        sink.write(b"whole")
        sweep_abandoned(tmp_path)
    sweep_abandoned(tmp_path / "not there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "a.jsonl"]
    assert (tmp_path / "a.jsonl").read_bytes() == b"whole"
    for descriptor in open_temporary(tmp_path)[1:]:
        os.close(descriptor)
    sweep_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "a.jsonl"]


@pytest.mark.process
def test_what_a_killed_process_was_writing_is_removed_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        sweep_abandoned(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        writer.kill()
    sweep_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []
