"""Large files: little memory, each line once, other calls answered meanwhile."""

from __future__ import annotations

import json
import time
from pathlib import Path

import openai
import pytest

from batch_files import chat_line, submit
from batchscore.simulator import start
from simulated import Project

pytestmark = pytest.mark.slow

LINES = 50_000


def test_the_largest_file_takes_little_memory_and_no_call_waits_long(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    text = "A sentence comes first. " + "And then many words of little meaning follow it. " * 72
    with path.open("w") as target:
        for number in range(LINES):
            target.write(json.dumps(chat_line(f"row-{number}", f"{number} {text}")) + "\n")
    assert 180_000_000 < path.stat().st_size < 200_000_000
    with (
        start(batch_seconds=0) as running,
        openai.OpenAI(base_url=running.endpoint + "/v1", api_key=running.key, max_retries=0) as client,
    ):
        with path.open("rb") as source:
            file = client.files.create(file=source, purpose="batch")
        assert file.bytes == path.stat().st_size
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        longest, deadline = 0.0, time.monotonic() + 300
        while batch.status != "completed":
            assert time.monotonic() < deadline
            started = time.monotonic()
            batch = client.batches.retrieve(batch.id)
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.1)
        assert longest < 10
        assert batch.output_file_id is not None
        ids = set()
        with client.files.with_streaming_response.content(batch.output_file_id) as reply:
            for line in reply.iter_lines():
                ids.add(json.loads(line)["custom_id"])
        assert len(ids) == LINES
        assert Project(running.endpoint, running.key).execution_totals() == (LINES, LINES)
        status = Path(f"/proc/{running.pid}/status").read_text("utf-8")
        assert int(status.partition("VmHWM:")[2].split()[0]) < 150_000, "kilobytes"


@pytest.mark.process
def test_the_files_of_all_projects_are_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a batch runs, and a project that is removed does not stop the batches of others."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lines = [chat_line(f"row-{number}") for number in range(2000)]
    with (
        start(batch_seconds=0.5) as running,
        openai.OpenAI(base_url=running.endpoint + "/v1", api_key=running.key, max_retries=0) as client,
    ):
        for name in ("removed", "other", "last"):
            project = Project(running.endpoint, running.key, name)
            one = client.with_options(api_key=project.key)
            batch = submit(one, lines)
            while one.batches.retrieve(batch.id).status == "validating":
                pass
            if name == "removed":
                project.reset()
            elif name == "other":
                while project.books().batches[0]["status"] != "completed":
                    time.sleep(0.02)
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
