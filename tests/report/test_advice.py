"""The command that is offered after a run works when it is copied."""

from __future__ import annotations

import pytest

from batchscore.report.advice import RunState, next_step


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out", "out out-chat.jsonl"),
        ("a b/out/", "'a b/out/' 'a b/out-chat.jsonl'"),
        ("/tmp/x", "/tmp/x /tmp/x-chat.jsonl"),
        (".out", ".out out-chat.jsonl"),
        ("/a/..out", "/a/..out /a/out-chat.jsonl"),
        ("-out", "./-out ./-out-chat.jsonl"),
        ("s3://bucket/out", "s3://bucket/out s3://bucket/out-chat.jsonl"),
        ("s3://bucket", "s3://bucket bucket-chat.jsonl"),
    ],
)
def test_the_merged_file_is_beside_the_folder_and_not_hidden(output: str, words: str) -> None:
    step = next_step(RunState("chat", output, ["batchscore", "score"], ok=1))
    assert step.command == f"batchscore merge {words} --task chat"


def test_no_file_on_this_machine_is_outside_of_the_root() -> None:
    assert "read_scores" in next_step(RunState("chat", "/", ["batchscore", "score"], ok=1)).command


def test_flags_are_added_before_the_names_of_files() -> None:
    command = ["batchscore", "score", "-o", "out", "--", "-in.csv"]
    state = RunState("chat", "out", command, failed=1, codes={"unreadable_row"})
    assert next_step(state).command == "batchscore score -o out --incremental -- -in.csv"
