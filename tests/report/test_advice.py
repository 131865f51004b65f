"""The command that is offered after a run works when it is copied."""

from __future__ import annotations

import ast
import shlex
from dataclasses import replace

import pytest

from batchscore.errors import name_settings
from batchscore.read.first_bytes import not_utf8_text
from batchscore.report.advice import RunState, encodings_in, goes_on, next_step
from batchscore.settings.declare import as_flag, mark_flags


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


def test_flags_are_added_before_the_names_of_files() -> None:
    command = ["batchscore", "score", "-o", "out", "--", "-in.csv"]
    state = RunState("chat", "out", command, failed=1, codes={"unreadable_row"})
    assert next_step(state).command == "batchscore score -o out --incremental -- -in.csv"


def test_after_an_edit_an_output_is_replaced_only_if_it_has_no_scores() -> None:
    command = ["batchscore", "score", "in.csv", "-o", "out", "--limit", "5"]
    state = RunState("chat", "out", command, takes_incremental=False)
    step = next_step(state)
    assert step.command == f"{' '.join(command)} --overwrite"
    assert step.text.startswith("Nothing was scored. When the input has texts")
    bad = replace(state, failed=1, ok=1, codes={"unreadable_row"})
    assert str(next_step(bad)) == (
        "Fix the causes. To score these rows again, name a new output, or replace this one with --overwrite."
    )
    shared = [*command[:-2], "--shared-output"]
    assert str(next_step(replace(state, command=shared))).endswith(", name a new output.")


@pytest.mark.parametrize(
    ("ok", "failed", "offered"),
    [(5, 0, ""), (4, 1, ""), (1, 4, "--limit 5 --retry-errors"), (0, 5, "--limit 5 --retry-errors")],
)
def test_a_rehearsal_in_which_most_rows_fail_offers_no_other_rows(ok: int, failed: int, offered: str) -> None:
    command = ["batchscore", "score", "in.csv", "--limit", "5"]
    state = RunState(
        "chat", "out", command, stopped=True, limited=True, ok=ok, failed=failed, codes={"invalid_answer"}
    )
    assert next_step(state).command == f"batchscore score in.csv {offered}".rstrip()


def test_a_value_that_was_the_cause_is_not_in_the_offered_command() -> None:
    command = ["batchscore", "score", "in.csv", "--tpm=1", "--max-row-bytes", "9"]
    few = RunState("chat", "out", command[:4], failed=1, codes={"over_quota"})
    assert str(next_step(few)).endswith(
        "failed rows without --tpm, run: batchscore score in.csv --retry-errors"
    )
    large = RunState("chat", "out", command, failed=2, codes={"over_quota", "row_too_large"})
    assert next_step(large).text.endswith("To score these rows again without --tpm and --max-row-bytes, run")
    assert next_step(large).command == "batchscore score in.csv --retry-errors --incremental"


def test_a_date_that_has_passed_is_no_deadline_of_the_next_run() -> None:
    words = ["batchscore", "score", "in.csv", "--deadline"]
    passed = "the run must end by deadline 2026-01-01T08:00. To resume, set a later one."
    assert goes_on([*words, "2026-01-01T08:00", "--id", "n"], passed, stopped=True) == [
        *words[:-1],
        "--id",
        "n",
    ]
    assert goes_on([*words[:-1], "--deadline=2026-01-01T08:00"], passed, stopped=True) == words[:-1]
    short = "no reply arrived within --deadline 6s, and the same command would end like this again."
    assert goes_on([*words, "6s"], short, stopped=True) == words[:-1]
    for again in ("2h", "06:30"):
        reason = f"the run must end by deadline {again}."
        assert goes_on([*words, again], reason, stopped=True) == [*words, again]


@pytest.mark.parametrize("given", [["--batch-rounds", "0"], ["--batch-rounds=0"]])
def test_rounds_that_send_nothing_are_not_in_a_command_that_is_to_send_rows(given: list[str]) -> None:
    words = ["batchscore", "score", "in.csv", "--via", "batch"]
    why = "Batch_rounds 0 sends nothing, which leaves 3 rows without a result."
    assert goes_on([*words, *given], why, stopped=True) == words
    assert goes_on([*words, *given], "", stopped=False) == words, "all have a record, and errors are retried"
    # What still runs is fetched without sending more, and --finish-live sends the others.
    fetches = ([*words, *given], "20 rows in 1 batch keep running at the service.", True)
    live = ([*words, *given, "--finish-live"], "", False)
    twice = ([*words, *given, "--batch-rounds", "2"], "", False)
    for command, reason, stopped in (fetches, live, twice):
        assert goes_on(command, reason, stopped=stopped) == command


@pytest.mark.parametrize(("partly_scored", "command"), [(False, "batchscore score in -o out"), (True, "")])
def test_a_file_without_scores_is_fixed_and_scored_by_the_same_command(
    *, partly_scored: bool, command: str
) -> None:
    state = RunState("chat", "out", ["batchscore", "score", "in", "-o", "out"], ok=1, takes_incremental=False)
    step = next_step(replace(state, unreadable=[False, partly_scored]))
    assert (
        step.text.startswith("Fix or remove these files, or set how to read them. To resume"),
        step.command,
    ) == (True, command)


def test_files_in_another_encoding_are_read_by_the_command_that_names_it() -> None:
    western, japanese = not_utf8_text("café".encode("cp1252")), not_utf8_text("今日は".encode("shift_jis"))
    assert encodings_in([western, f"b.csv: {western}"]) == {"windows-1252"}
    assert encodings_in([not_utf8_text("今日は".encode("iso2022_jp"))]) == {"iso2022_jp"}
    in_words = mark_flags(name_settings(not_utf8_text("今日は".encode("iso2022_jp")), as_flag))
    assert encodings_in([in_words]) == {"iso2022_jp"}, "as a record of the problem holds it"
    assert encodings_in([western, "its header is damaged"]) == encodings_in([]) == set()
    state = RunState("chat", "out", ["batchscore", "score", "in", "-o", "out"], unreadable=[False], ok=1)
    step = next_step(state, encodings_in([western]))
    assert step.command == "batchscore score in -o out --encoding windows-1252"
    assert step.text.startswith("If the encoding of these files is another than windows-1252, replace it.")
    both = next_step(state, encodings_in([western, japanese]))
    assert (both.command, both.text.startswith("These files seem to differ in encoding.")) == ("", True)


def test_an_input_that_had_no_text_is_scored_once_it_has() -> None:
    command = ["batchscore", "score", "in.csv", "-o", "out"]
    step = next_step(RunState("chat", "out", command))
    assert step.command == "batchscore score in.csv -o out --incremental", "the same command refuses it"


@pytest.mark.parametrize(
    "stem", ["a b", "out \U0001f389", "it's", 'a "b"', "both ' and \"", "a\nb", "a\\n$x", "\udcff"]
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "xlsx", "jsonl"])
def test_the_command_that_reads_the_scores_names_the_file(stem: str, suffix: str) -> None:
    output = f"{stem}.{suffix}"
    step = next_step(RunState("chat", output, ["batchscore", "score"], ok=1, one_file=True))
    python, flag, code = shlex.split(step.command)
    names = [each.value for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Constant)]
    assert (python, flag, output in names, code.isprintable()) == ("python", "-c", True, True)
