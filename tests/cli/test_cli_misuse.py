"""Mistakes of users and faults of machines: one clear message, the right exit code, nothing half-done."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import codes, manifests, whole

from batchscore.simulator import Running
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files, Finished


def one_message(run: Finished) -> str:
    """Return the only line of output, besides where requests go and the progress of a run that takes long."""
    assert not run.stdout
    lines = [line for line in run.stderr.splitlines() if " · elapsed " not in line]
    (line,) = (line for line in lines if not line.startswith("Requests go to "))
    return line.removeprefix("batchscore: ")


def test_input_that_cannot_be_scored_is_found_before_the_first_request(batchscore: Cli, files: Files) -> None:
    files.texts("in/a.csv", ["one"])
    files.csv("in/b.csv", [{"body": "x", "subject": "y", "lang": "z"}])
    files.text("notes.pdf", "no")
    files.csv("lines/b.csv", [{"body": "x", "subject": "y", "lang": "z"}])
    files.text("lines/c.txt", "one\n")
    files.csv("blank/b.csv", [{"subject": "y", "lang": "z", "body": "x"}])
    files.text("blank/none.csv", "")
    for number in range(3):
        files.csv(f"in/all/{number}.csv", [{"body": "x", "lang": "z"}])
    files.text("in/all/b.jsonl", '{"subject": "y"}\n')
    files.bytes("in/all/c.parquet", b"PAR1 cut off")
    Path("empty").mkdir()
    expected = {
        "im": f"im does not exist. {Path.cwd()} holds blank, empty, in, lines, notes.pdf",
        "none/*.csv": "none/*.csv matches no file. ",
        "empty": "empty holds no file that batchscore reads: .csv",
        "notes.pdf": "notes.pdf: suffix .pdf is not one that batchscore reads",
        "in/b.csv": "b.csv: several columns hold text: body, subject, lang. Choose one with --column",
        "in/b.csv --column Subjekt": "b.csv: no column 'Subjekt' (--column); its columns are subject, ",
        "in/b.csv --prompt {bodi}": "b.csv: no column 'bodi' (--prompt); its columns are body, ",
        "lines --column Subjekt": "b.csv: no column 'Subjekt' (--column); its columns are subject, "
        "body, lang. Is it 'subject'? The others hold bare texts, which fit any column name, so the name "
        "may be misspelt.",
        "in/all --column nope": "0.csv and 2 more: no column 'nope' (--column); its columns are body, lang. "
        "b.jsonl: no column 'nope' (--column); its columns are subject. c.parquet: ",
        "blank --column nope": "b.csv: no column 'nope' (--column); its columns are subject, lang, body.",
        "in/b.csv --column body --keep no": "no file has a column 'no' (--keep); the columns are body",
    }
    command = ["score", "-o", "out", "--task", "chat", "-m", "m"]
    runs = [batchscore.here(*command, *more.split()) for more in expected]
    for run, words in zip(runs, expected.values(), strict=True):
        assert run.exit_code == 1
        assert one_message(run).startswith(words)
    assert not Path("out").exists()


def test_a_text_that_is_not_utf8_is_reported_before_the_first_request(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    done = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", "m", "--column", "text"),
        *("--system", "be \udcff"),
    )
    assert done.exit_code == 2
    assert "--system is not UTF-8" in done.said


def test_flags_that_cannot_be_used(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["one"])
    chat = ["score", "a.csv", "-o", "out", "-m", deployment.name, "--task", "chat"]
    vectors = [*chat[:-1], "embeddings"]
    expected = {
        ("score", *chat[2:]): "INPUT is missing",
        (
            *chat[:4],
        ): "--task and --model are missing. Set them directly, with BATCHSCORE_TASK and BATCHSCORE_MODEL",
        (*chat[:4], "-m", "summries"): "(summries is not a folder of a saved model.)",
        (*chat, "--limit", "0"): "--limit is 0; it must be at least 1",
        (*chat, "--max-concurrency", "many"): "'many' is not a valid whole number",
        (*chat[:-1], "chats"): "'chats' is not one of 'embeddings', 'completions', 'chat'",
        (*chat, "--colum", "text"): "--colum",
        (*chat, "--tempreature", "0"): "Did you mean '--temperature'?",
        (*chat, "--param", "seed=1", "--seed", "1"): "--param seed and --seed set the same; give one",
        (*chat, "--param", "temperature"): "write NAME=JSON",
        (*chat, "--param", "temperature=[1"): "--param temperature is not JSON",
        (*chat, "--param", "stop=@none.json"): "none.json cannot be read: No such file",
        (*chat, "--param", "messages=[]"): "--param messages: batchscore sets this field",
        (*chat, "--column", "a", "--prompt", "{b}"): "--column and --prompt both define the prompt",
        (*vectors, "--system", "x"): "--system and --messages are for --task chat",
        (*chat, "--column", "text", "--keep", "row"): "--keep cannot name 'row'",
        (*chat, "--simulate", "--endpoint", "http://x"): "--simulate and --endpoint contradict",
        (*chat, "--rpm", "nan"): "--rpm is nan; it must be a number",
        (*chat, "--tpm", "inf"): "--tpm is inf; it must be a number",
        (*chat, "--timeout", "nan"): "--timeout is nan",
        (*chat, "--max-outage", "inf"): "--max-outage is inf",
        (*chat, "--error-threshold", "nan"): "--error-threshold is nan",
        (*chat, "--error-threshold", "2.5"): "--error-threshold is 2.5; it must be a fraction below 1",
        (*chat, "--max-spend", "5"): "--max-spend needs --price-in and --price-out",
        (*chat, "--deadline", "2"): "--deadline cannot be read; give a duration such as 2h",
        (*chat, "--deadline", "2020-01-01T00:00"): "--deadline 2020-01-01T00:00 has passed; give a later one",
    }
    runs = [batchscore.here(*words) for words in expected]
    for run, words in zip(runs, expected.values(), strict=True):
        assert (run.exit_code, run.stdout) == (2, ""), run
        assert words in run.said
    assert deployment.statistics().count == 0
    assert not Path("out").exists()


def test_a_service_that_refuses_or_is_down(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    """A wrong key costs a request and a probe. An outage is resumed later; a refusal must be fixed."""
    files.texts("a.csv", [f"row {row}" for row in range(50)])
    command = ["score", "a.csv", "--task", "chat", "--column", "text"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        wrong_key, unknown, down, nowhere = batchscore.each(
            ([*command, "-o", "key", "-m", deployment.name], {"OPENAI_API_KEY": "wr0ng"}),
            ([*command, "-o", "unknown", "-m", "no-such-model"], {}),
            (
                [*command, "-o", "down", "-m", "m", "--max-outage", "2"],
                {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"},
            ),
            ([*command, "-o", "nowhere", "-m", "m"], {"OPENAI_BASE_URL": None}),
        )
    assert wrong_key.exit_code == 1
    assert "Stopped: the service refused the credentials (401" in wrong_key.said
    assert "2 requests retried or failed: 2 access denied\n" in wrong_key.said
    assert deployment.statistics().count == 2
    assert unknown.exit_code == 1
    assert "no such model, deployment or path (404, model_not_found)" in unknown.said
    assert "2 requests retried or failed: 2 not found\n" in unknown.said, "a row and a probe"
    assert down.exit_code == 4
    assert f"nothing listens at 127.0.0.1:{port}." in down.said
    assert "To resume, run: batchscore score a.csv" in down.said
    for out in ("key", "unknown", "down"):
        assert not list(Path(out, "chat").glob("*"))
        assert not list(Path(out, "errors").glob("*/*"))
    assert nowhere.exit_code == 1
    for way in ("--endpoint", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "--simulate"):
        assert way in one_message(nowhere)
    assert not Path("nowhere").exists()


def test_a_wrong_parameter_stops_early(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    """Not every row is sent, and billed, only to be refused."""
    files.texts("a.csv", [f"row {row}" for row in range(300)])
    command = ["score", "a.csv", "--column", "text", "-m", deployment.name, "--param", "bogus=1"]
    for run, task in zip(
        batchscore.together(
            [*command, "-o", "out", "--task", "chat"], [*command, "-o", "out", "--task", "embeddings"]
        ),
        ("chat", "embeddings"),
        strict=True,
    ):
        assert run.exit_code == 1
        assert "refused the first 20 rows for the same reason, so a parameter is probably wrong" in run.said
        assert not (Path("out") / task).exists()
    assert deployment.statistics().count < 150


def test_output_that_is_not_ours_or_cannot_be_written(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    files.text("mine.jsonl", "my own\n")
    files.text("a.txt", "my own\n")
    files.text("foreign/chat/notes.txt", "my own\n")
    command = ["score", "a.csv", "--task", "chat", "--column", "text", "-m", "m", "-o"]
    expected = {
        "a.csv/out": "cannot write a.csv/out/.batchscore: a part of the path is a file",
        "a.csv": "a.csv is also the output: choose another output",
        "a.txt": "a.txt is a file. Give a folder, or a new file ending in .jsonl",
        "mine.jsonl": "mine.jsonl exists already, and no run with this --output wrote it",
        "foreign": "foreign/chat holds files that are not batchscore's, such as notes.txt",
    }
    if sys.platform == "linux":
        # Nobody may make a folder there, not even root.
        expected["/sys/kernel/out"] = "cannot write /sys/kernel/out/"
        expected["/proc/out"] = "the folder cannot exist, or it was removed during the run; choose another"
    for out, words in expected.items():
        run = batchscore.here(*command, out)
        assert run.exit_code == 1
        assert words in one_message(run)
    assert Path("mine.jsonl").read_text("utf-8") == "my own\n"
    assert os.listdir("foreign/chat") == ["notes.txt"]  # noqa: PTH208 - hidden files count, too


def test_output_inside_the_input_is_not_read_as_input(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one"])
    command = ["score", "in", "--task", "chat", "--column", "text", "-m", deployment.name, "--json", "-o"]
    assert batchscore(*command, "in/out").exit_code == 0
    again, file = batchscore.together([*command, "in/out"], [*command, "in/one.jsonl"])
    assert (again.exit_code, again.report["rows"], again.report["requests"]) == (0, 1, 0)
    assert {"name": "out/", "reason": "the output of this run"} in again.report["skipped"]
    assert (file.exit_code, file.report["rows"]) == (0, 1)
    assert {"name": "out/", "reason": "an output folder of batchscore"} in file.report["skipped"]


@pytest.mark.slow
@pytest.mark.parametrize("rows_a_request", [10, 40])
def test_a_disk_that_is_full(
    batchscore: Cli, files: Files, deployment: Deployment, rows_a_request: int
) -> None:
    """No file may exceed 6,000 bytes, but the part would. This may be found after the last response."""
    files.texts("a.csv", [f"row {row}" for row in range(40)])
    command = ["score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text"]
    command += ["-m", deployment.name, "--rows-per-part", "30", "--batch-size", str(rows_a_request)]
    limit = (6_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    run = batchscore(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert run.exit_code == 1
    assert "Stopped: cannot write out/embeddings/part-a-" in run.said
    assert "the file is larger than this system allows" in run.said
    counts = re.findall(r"^  (?:saved|lost): +(\d+) scored row", run.stdout, re.MULTILINE)
    assert sum(map(int, counts)) == 30, run.stdout
    assert not any(path.stat().st_size > limit[0] for path in Path("out").rglob("*"))
    for manifest in manifests("out", "embeddings").values():
        assert (manifest["ok"] in {0, 10}, manifest["state"]) == (True, "partial")
    run = batchscore(*command)
    assert run.exit_code == 0, run
    assert len(whole("out", "embeddings")[0]) == 40


def test_files_without_rows_and_files_that_cannot_be_read(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.text("empty/a.csv", "")
    files.text("empty/b.csv", "id,text\n")
    files.texts("in/good.csv", ["one", "two"])
    files.text("in/slides.PPT", "no")
    files.bytes("mixed/bad.parquet", b"PAR1 cut off")
    files.csv("mixed/other.csv", [{"body": "x", "lang": "y"}])
    files.texts("mixed/good.csv", ["one", "two"])
    files.text("mixed/cut.json", '[{"text": "whole"}, {"text": "cu')
    command = ["score", "--task", "chat", "--column", "text", "-m", deployment.name]
    none, skipped, mixed, quiet = batchscore.together(
        [*command, "empty", "-o", "none"],
        [*command, "in", "-o", "skipped"],
        [*command, "mixed", "-o", "mixed-out"],
        [*command, "in", "-o", "quiet", "--quiet"],
    )
    assert none.exit_code == 0
    assert "chat: 0 rows of 2 files" in none.stdout
    assert skipped.exit_code == 0
    assert "skipped: slides.PPT: suffix .PPT is not one that batchscore reads" in skipped.stdout
    assert mixed.exit_code == 1
    assert "2 of 4 files cannot be scored; the summary says why" in mixed.said
    assert " of 4 files, 3 of which cannot be scored completely: " in mixed.stdout
    for words in ("bad.parquet: ", "other.csv: no column 'text'", "cut.json: "):
        assert f"cannot be scored: {words}" in mixed.said
    scores, errors = whole("mixed-out", "chat")
    assert scores.keys() >= {("good.csv", 0), ("good.csv", 1), ("cut.json", 0)}
    assert not codes(errors)
    assert manifests("mixed-out", "chat")["cut.json"]["state"] == "unreadable"
    assert (quiet.exit_code, quiet.said) == (0, "")
    verified, verdict, merged, planned = batchscore.together(
        ["verify", "mixed-out"],
        ["verify", "mixed-out", "--json"],
        ["merge", "mixed-out", "all.jsonl"],
        ["plan", "mixed", *command[1:]],
    )
    again = batchscore.here(*command, "mixed", "-o", "mixed-out")
    for run in (verified, verdict, merged, planned, again):
        assert "other.csv: no column 'text' (--column)" in run.said, run
    assert [run.exit_code for run in (verified, merged, planned, again)] == [1, 4, 1, 1]


def test_with_json_a_failure_is_an_object_too(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    score = ["--task", "chat", "-m", "m", "--json"]
    expected = {
        ("verify", "nothere", "--json"): (1, "nothere"),
        ("verify", "--json"): (2, "OUT"),
        ("verify", "nothere", "--json", "--tusk"): (2, "--tusk"),
        ("plan", "nothere", *score): (1, "nothere"),
        ("plan", "a.csv", "--json", "--max-tokens", "many"): (2, "many"),
        ("score", "--json"): (2, "INPUT"),
        ("score", "nothere", "-o", "out", *score): (1, "nothere"),
    }
    for asked, (code, word) in expected.items():
        run = batchscore.here(*asked)
        assert run.exit_code == code, run
        said = json.loads(run.stdout.splitlines()[-1])
        assert (said["event"], said["exit_code"]) == ("failed", code)
        assert word in said["reason"]


def test_files_beyond_the_list_are_in_the_record(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/good.csv", ["one"])
    for number in range(7):
        files.bytes(f"in/bad{number}.parquet", b"no")
    run = batchscore("score", "in", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name)
    assert run.exit_code == 1
    (record,) = Path("out/runs").iterdir()
    assert f"cannot be scored: 2 more files; all are listed in {record}" in run.said
    problems = {file["file"]: file.get("problem") for file in json.loads(record.read_bytes())["files"]}
    assert all(problems[f"bad{number}.parquet"] for number in range(7))


@pytest.mark.slow
def test_standard_output_that_cannot_be_written(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """A closed pipe does not fail a successful run; a full disk does."""
    files.texts("a.csv", ["one"])
    lost = Deployment(simulator.endpoint, deployment.name + "-2")
    command = ["score", "a.csv", "--task", "chat", "--column", "text", "--json"]
    with (
        Path("/dev/full").open("w") as full,
        batchscore.start(*command, "-o", "gone", "-m", deployment.name) as gone,
        batchscore.start(*command, "-o", "lost", "-m", lost.name, stdout=full) as full_disk,
    ):
        gone.stdout.close()
        run = gone.finish()
        assert run.exit_code == 0
        (line,) = (line for line in run.stderr.splitlines() if " · elapsed " not in line)
        assert line.startswith("Requests go to ")
        run = full_disk.finish()
        assert run.exit_code == 1
        assert "cannot write to stdout: No space left on device. The scores" in one_message(run)
    assert len(whole("gone", "chat")[0]) == len(whole("lost", "chat")[0]) == 1


def test_the_threshold_of_failed_rows(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    """Empty rows do not count as failed."""
    files.lines("a.jsonl", [{"text": "one"}, {"text": "two"}, {"text": ""}, {"other": 1}])
    command = ["score", "a.jsonl", "--task", "chat", "--column", "text", "-m", deployment.name]
    runs = batchscore.together(
        *([*command, "-o", f"out{share}", "--error-threshold", share] for share in ("0", "0.25"))
    )
    assert [run.exit_code for run in runs] == [3, 0]
    assert "4 rows of 1 file: 2 scored, 1 failed, 1 empty" in runs[0].said
    assert "1 missing column" in runs[0].said
    assert "errors: out0/errors/chat" in runs[0].said


@pytest.mark.slow  # the test of a full disk scores it again, too
def test_a_part_that_could_not_be_written_is_scored_again(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """One request answers all rows, so nothing is in flight when the part fails."""
    files.texts("a.csv", [f"row {row}" for row in range(40)])
    command = ["score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text"]
    command += ["-m", deployment.name]
    limit = (6_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    run = batchscore(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert run.exit_code == 1
    assert manifests("out", "embeddings")["a.csv"]["state"] == "partial"
    run = batchscore(*command)
    assert run.exit_code == 0, run
    assert len(whole("out", "embeddings")[0]) == 40


#: Runs a command for each line of standard input, in one process.
EACH = """
import sys
from batchscore.cli.main import main
for line in sys.stdin.read().splitlines():
    sys.argv[1:] = line.split()
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may do everything")
def test_a_folder_without_permission_is_named_by_each_command(files: Files) -> None:
    files.texts("a.csv", ["one"])
    Path("closed").mkdir(mode=0)
    # The owner without the privilege of root to open what is closed.
    may_not = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    score = "score a.csv --simulate --task chat -m m --column text -o"
    commands = (
        *("verify closed", "report closed", "merge closed x.jsonl", "evaluate closed --label text"),
        *(f"{score} closed{below}" for below in ("", "/out", "/out.jsonl", "/out.csv")),
    )
    command = [*may_not, sys.executable, "-c", EACH]
    lines = "\n".join(commands)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Requests go to ")]
    assert said[1::2] == ["exit 1"] * len(commands), done.stderr
    for line in said[::2]:
        assert re.match(r"batchscore: cannot .*closed.*ermission", line), done.stderr
