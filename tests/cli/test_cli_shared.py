"""Several workers on one output: mini-batches are delivered twice or concurrently, and workers are killed."""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import manifests, whole

from batchscore.errors import ExitCode
from batchscore.output.verify import verify_output
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings
from batchscore.simulator import Running
from conftest import KEY
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files

WORKERS = 3


@dataclass
class Deliveries:
    """Mini-batches to do; that of a killed worker is delivered again."""

    waiting: deque[list[str]]
    kills: int
    draw: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    killed: int = 0

    def take(self) -> tuple[list[str], float | None] | None:
        """Give the next, and after how many seconds its worker is to be killed, if it is."""
        with self.lock:
            if not self.waiting:
                return None
            seconds = self.draw.uniform(0.4, 1.4) if self.kills else None
            self.kills -= seconds is not None
            return self.waiting.popleft(), seconds

    def failed(self, batch: list[str]) -> None:
        with self.lock:
            self.killed += 1
            self.waiting.append(batch)


def deliver(batchscore: Cli, command: list[str], deliveries: Deliveries, temporary: Path) -> None:
    """Work as one worker of three, each with journals of its own machine."""
    while (taken := deliveries.take()) is not None:
        batch, seconds = taken
        with batchscore.start(*command, *batch, env={"TMPDIR": str(temporary)}) as process:
            if seconds is not None:
                time.sleep(seconds)
                process.interrupt(signal.SIGKILL)
                if process.popen.wait() == -signal.SIGKILL:
                    deliveries.failed(batch)
                continue
            run = process.finish()
        # What another worker took along is asked for again, as a host delivers what did not succeed.
        assert run.exit_code in {0, 4}, run
        if run.exit_code == 4:
            deliveries.failed(batch)


@pytest.mark.parametrize(
    ("seed", "count", "rows", "kills"),
    [
        (1, 4, 60, 3),
        *(pytest.param(seed, 9, 400, 8, marks=pytest.mark.slow) for seed in range(2, 8)),
    ],
)
def test_three_workers_and_each_mini_batch_twice(
    seed: int,
    count: int,
    rows: int,
    kills: int,
    batchscore: Cli,
    files: Files,
    deployment: Deployment,
    direct: Direct,
    tmp_path: Path,
) -> None:
    draw = random.Random(seed)
    texts = {f"f{number}.csv": [f"f{number} row {row}" for row in range(rows)] for number in range(count)}
    for name, held in texts.items():
        files.texts(f"in/{name}", held)
        # Errors that pass, and errors that stand, beside scores.
        deployment.will(status=500, times=2, when_input_contains=f"{held[7]}")
        deployment.will(status=400, times=None, when_input_contains=f"{held[11]}")
    deployment.will_be_slow(0.02, times=None)
    paths = [f"in/{name}" for name in texts]
    batches = [paths[start : start + 2] for start in range(0, count, 2)]
    deliveries = Deliveries(deque(batch for batch in batches for _ in range(2)), kills, draw)
    command = ["score", "-o", "out", "--task", "embeddings", "-m", deployment.name, "--column", "text"]
    command += [
        "--shared-output",
        "--base-dir",
        "in",
        "--dimensions",
        "16",
        "--rows-per-part",
        "25",
        "--batch-size",
        "8",
    ]
    command += ["--error-threshold", "1000", "--max-concurrency", "4"]
    machines = [tmp_path / "here", tmp_path / "here", tmp_path / "there"]
    for machine in machines:
        machine.mkdir(exist_ok=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(deliver, batchscore, command, deliveries, each) for each in machines]:
            done.result()
    for path in Path("out").rglob(".batchscore-*.tmp"):
        path.unlink()  # of workers that were killed; a run that has the output for itself sweeps them
    scores, errors = whole("out", "embeddings")
    expected = {(name, row) for name, held in texts.items() for row in range(len(held))}
    assert scores.keys() | errors.keys() == expected
    for name, held in texts.items():
        sample = sorted(draw.sample(range(rows), 12))
        for row, vector in zip(
            sample, direct.vectors([held[row] for row in sample], dimensions=16), strict=True
        ):
            if (name, row) in scores:
                assert scores[name, row]["embeddings"] == pytest.approx(vector.tolist(), rel=1e-6)
    assert {manifest["state"] for manifest in manifests("out", "embeddings").values()} == {"complete"}
    verified = batchscore("verify", "out")
    assert verified.exit_code == 0, verified
    assert not list(Path("out").rglob(".batchscore-*"))
    assert deliveries.killed >= 1


def test_the_second_delivery_of_a_file_sends_nothing(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(30)])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    assert batchscore(*command, "--shared-output").exit_code == 0
    asked = deployment.statistics().count
    part = next(Path("out/chat").iterdir())
    written = part.stat().st_mtime_ns
    again = batchscore(*command, "--shared-output")
    assert again.exit_code == 0, again
    assert deployment.statistics().count == asked
    assert part.stat().st_mtime_ns == written
    assert len(list(Path("out/runs").iterdir())) == 2
    assert not list(Path("out").rglob("*.lock"))


def test_a_worker_that_finds_a_changed_file_says_what_to_do(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(30)])
    command = [
        "score",
        "-o",
        "out",
        "--task",
        "chat",
        "-m",
        deployment.name,
        "--column",
        "text",
        "--shared-output",
    ]
    assert batchscore(*command, "a.csv").exit_code == 0
    files.texts("a.csv", [f"other {row}" for row in range(20)])
    changed = batchscore(*command, "a.csv")
    other = batchscore(*command, "a.csv", "--max-tokens", "9")
    assert (changed.exit_code, other.exit_code) == (1, 1)
    assert "a.csv has changed since it was scored" in changed.said
    assert "holds chat of another run" in other.said
    for said in (changed.said, other.said):
        assert "another output folder" in said
        assert "--incremental" not in said
        assert "--overwrite" not in said
    # Whoever does as it says is through.
    named = re.search(r"with (\S+) in their names in (\S+), (\S+) and (\S+) of the output", changed.said)
    assert named is not None, changed
    for folder in named.groups()[1:]:
        for path in Path("out", folder).glob(f"*{named[1]}*"):
            path.unlink()
    assert batchscore(*command, "a.csv").exit_code == 0
    assert len(whole("out", "chat")[0]) == 20
    assert batchscore("verify", "out").exit_code == 0


def test_the_next_delivery_repairs_the_part_of_a_killed_worker(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Its part was replaced, but not its commit record: the size is the same, the bytes are not."""
    files.texts("a.csv", [f"row {row}" for row in range(30)])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--shared-output", "--rows-per-part", "10"]
    assert batchscore(*command).exit_code == 0
    part = sorted(Path("out/chat").iterdir())[1]
    whole_part = part.read_bytes()
    part.write_bytes(whole_part.replace(b'"row":1', b'"row":2'))
    (Path("out/errors/chat")).mkdir(parents=True, exist_ok=True)
    (Path("out/errors/chat") / min(Path("out/chat").iterdir()).name).write_bytes(b"{}\n")
    again = batchscore(*command)
    assert again.exit_code == 0, again
    assert part.read_bytes() == whole_part
    assert batchscore("verify", "out").exit_code == 0
    assert len(whole("out", "chat")[0]) == 30


def test_an_exclusive_run_locks_out_workers(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["a row"])
    deployment.will_be_slow(30.0, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    with batchscore.start(*command):
        deployment.wait_for(1)
        refused = batchscore(*command, "--shared-output")
        assert refused.exit_code == 5, refused
    deployment.reset()
    assert batchscore(*command, "--shared-output").exit_code == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-o", "out", "--overwrite"], "--shared-output and --overwrite"),
        (["-o", "out.jsonl"], "batchscore merge"),
    ],
)
def test_what_several_workers_cannot_do_is_refused(
    more: list[str], told: str, batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["a row"])
    run = batchscore(
        "score",
        "a.csv",
        "--task",
        "chat",
        "-m",
        deployment.name,
        "--column",
        "text",
        "--shared-output",
        *more,
    )
    assert run.exit_code == 2
    assert told in run.said


def test_names_in_records_are_relative_to_the_base_dir(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A file has the same name, whatever other files are delivered with it."""
    for name in ("in/a/x.csv", "in/b/x.csv"):
        files.texts(name, [f"a row of {name}"])
    command = [
        "score",
        "-o",
        "out",
        "--task",
        "chat",
        "-m",
        deployment.name,
        "--column",
        "text",
        "--shared-output",
    ]
    for batch in (["in/a/x.csv"], ["in/b/x.csv"], ["in/a/x.csv", "in/b/x.csv"]):
        run = batchscore(*command, "--base-dir", "in", *batch)
        assert run.exit_code == 0, run
    assert whole("out", "chat")[0].keys() == {("a/x.csv", 0), ("b/x.csv", 0)}
    assert deployment.statistics().count == 2
    outside = batchscore(*command, "--base-dir", "in/a", "in/b/x.csv")
    assert outside.exit_code == 1
    assert "is not below the folder in/a" in outside.said


@pytest.mark.slow
def test_journals_of_killed_workers_are_taken_over_on_their_machine(
    batchscore: Cli, files: Files, deployment: Deployment, tmp_path: Path
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(200)])
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--shared-output", "--scratch-dir", "scratch", "--max-concurrency", "4"]
    with batchscore.start(*command) as process:
        deployment.wait_for(60)
        process.interrupt(signal.SIGKILL)
    (home,) = (tmp_path / "scratch").iterdir()
    (journal,) = home.rglob("*.journal")
    assert journal.stat().st_mode & 0o077 == 0
    waiting = verify_output(Path("out")).last.waiting
    run = batchscore(*command, "--json")
    assert run.exit_code == 0, run
    assert run.report["known"] == waiting >= 50
    assert deployment.statistics().statuses["200"] <= 200 + 4
    assert not list((tmp_path / "scratch").iterdir())
    (manifest,) = manifests("out", "chat").values()
    assert manifest["attempts"] >= 200
    assert manifest["tokens_kept"] == manifest["tokens_billed"] > 0
    record = json.loads(max(Path("out/runs").iterdir()).read_bytes())
    assert record["tokens_billed"] == manifest["tokens_billed"]
    assert record["this_run"]["tokens_billed"] < record["tokens_billed"]


def test_a_host_scores_the_same_files_in_two_threads_of_one_process(
    files: Files, deployment: Deployment, simulator: Running, tmp_path: Path
) -> None:
    """As a driver does: from Python, not on the main thread, without the command line."""
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    settings = Settings(
        task="embeddings",
        model=deployment.name,
        output="out",
        column="text",
        shared_output=True,
        base_dir=str(tmp_path),
        scratch_dir="scratch",
        rows_per_part=20,
        batch_size=5,
    )
    environ = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": KEY}
    deployment.will_be_slow(0.05, times=None)

    def deliver_once(_: int) -> ExitCode:
        return score_files(settings, ["a.csv"], environ=environ, listen=lambda _: None).exit_code

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(deliver_once, range(4))) == {ExitCode.DONE}
    assert len(whole("out", "embeddings")[0]) == 60
    assert verify_output(Path("out")).exit_code is ExitCode.DONE
    assert len(list(Path("out/runs").iterdir())) == 4
    assert not list(Path("scratch").iterdir())


def share_command(deployment: Deployment, *more: str) -> list[str]:
    """Return the command of a worker, but for its share."""
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    return [*command, "--rows-per-part", "10", "--scratch-dir", "scratch", *more]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("resumed_by", ["the same worker", "one of three", "a run alone"])
def test_workers_score_shares_of_one_file_and_one_is_killed(
    workers: int, resumed_by: str, batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(205)])
    deployment.will_be_slow(0.05, times=None)
    command = share_command(deployment, "--max-concurrency", "2")
    started = [batchscore.start(*command, "--part-of", f"{k}/{workers}") for k in range(1, workers + 1)]
    with ExitStack() as stack:
        killed, *others = [stack.enter_context(each) for each in started]
        deployment.wait_for(30)
        killed.interrupt(signal.SIGKILL)
        killed.popen.wait()
        for process in others:
            run = process.finish()
            assert run.exit_code == 0, run
            assert "batchscore verify out" in run.said
    verified = batchscore("verify", "out")
    assert verified.exit_code == 4, verified
    assert f"the share 1/{workers} is missing (--part-of)" in verified.said
    again = {
        "the same worker": [["--part-of", f"1/{workers}"]],
        "one of three": [["--part-of", f"{k}/3"] for k in (1, 2, 3)],
        "a run alone": [[]],
    }
    for share in again[resumed_by]:
        run = batchscore(*command, *share)
        assert run.exit_code == 0, run
    assert batchscore("verify", "out").exit_code == 0
    assert whole("out", "chat")[0].keys() == {("a.csv", row) for row in range(205)}
    # What was in flight when the worker was killed is paid for twice, and no more.
    assert deployment.statistics().statuses["200"] <= 205 + 2
    (manifest,) = manifests("out", "chat").values()
    assert (manifest["state"], manifest["rows"], manifest["ok"]) == ("complete", 205, 205)
    assert not list(Path("scratch").rglob("*.journal"))


def test_the_summary_of_a_worker_says_which_rows_other_runs_have_done(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Others may have done them at the same time, after this one had begun with the file."""
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    deployment.will_be_slow(0.05, times=None)
    command = share_command(deployment, "--max-concurrency", "4")
    with ExitStack() as stack:
        started = [stack.enter_context(batchscore.start(*command, "--part-of", f"{k}/2")) for k in (1, 2)]
        said = [process.finish().stdout for process in started]
    assert max(int(re.findall(r"^chat: (\d+) rows", each)[0]) for each in said) == 60
    for each in said:
        done, requests = (int(re.findall(rf"(\d+) {what}", each)[0]) for what in ("rows", "requests"))
        assert done == requests or f" failed, {done - requests} done by other runs" in each, each
    again = batchscore(*share_command(deployment, "--part-of", "1/2"))
    assert again.stdout.startswith("chat: 60 rows of 1 file: 60 scored, 0 failed, 60 done by other runs\n")


def test_missing_shares_are_named_with_the_command_of_one(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """That of a share that nobody has begun is first: the worker of another may still be at work."""
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    command = share_command(deployment)
    deployment.will_be_slow(60.0, times=1)
    with batchscore.start(*command, "--part-of", "1/4") as killed:
        deployment.wait_for(1)
        killed.interrupt(signal.SIGKILL)
        killed.popen.wait()
    assert batchscore(*command, "--part-of=3/4").exit_code == 0
    for missing, share in (
        ("the shares 1/4, 2/4, 4/4 are missing", "2/4"),
        ("the shares 1/4, 4/4 are missing", "4/4"),
        ("the share 1/4 is missing", "1/4"),
    ):
        merge = ["merge", "out", "all.jsonl", "--overwrite"]
        merged, verified = batchscore.together(merge, ["verify", "out"])
        assert (merged.exit_code, verified.exit_code) == (4, 4)
        assert f"incomplete: a.csv: {missing} (--part-of)\n" in verified.said
        offered = f"To resume, run: batchscore {shlex.join(command)} --part-of {share}\n"
        assert verified.said.endswith(offered)
        assert offered in merged.said
        assert batchscore(*command, "--part-of", share).exit_code == 0
    assert batchscore("verify", "out").exit_code == 0


def test_what_shares_have_lost_is_scored_without_a_share(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    command = share_command(deployment)
    for k in (1, 2):
        assert batchscore(*command, "--part-of", f"{k}/2").exit_code == 0
    next(Path("out/chat").iterdir()).unlink()
    repaired = batchscore("verify", "out", "--repair")
    offered = f"When all workers have finished, to resume, run: batchscore {shlex.join(command)}\n"
    assert (repaired.exit_code, repaired.said.endswith(offered)) == (4, True), repaired
    assert batchscore("verify", "out").said.endswith(offered)
    assert batchscore(*command).exit_code == 0
    assert batchscore("verify", "out").exit_code == 0


def test_a_file_that_changed_between_shares_is_scored_without_a_share(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    command = share_command(deployment)
    assert batchscore(*command, "--part-of", "1/2").exit_code == 0
    files.texts("a.csv", [f"other {row}" for row in range(60)])
    refused = batchscore(*command, "--part-of", "2/2")
    alone = f"once no worker is running, run: batchscore {shlex.join(command)} --incremental"
    assert (refused.exit_code, refused.stdout.endswith(f"score new or changed rows, {alone}\n")) == (
        1,
        True,
    ), refused
    assert "leave --part-of out and add --incremental" in refused.stdout
    verified, merged = batchscore.together(["verify", "out"], ["merge", "out", "all.jsonl"])
    assert (verified.exit_code, merged.exit_code) == (1, 4), verified
    assert "incomplete: a.csv: has changed since it was scored\n" in verified.stdout
    assert "(--part-of)" not in verified.stdout
    assert verified.stdout.endswith(f"To score new or changed rows, {alone}\n")
    assert alone in merged.said
    assert batchscore(*command, "--incremental").exit_code == 0
    assert batchscore("verify", "out").exit_code == 0
    assert len(whole("out", "chat")[0]) == 60
    # A file that was complete is treated alike.
    for k in (1, 2):
        assert batchscore(*command, "--part-of", f"{k}/2").exit_code == 0
    files.texts("a.csv", [f"third {row}" for row in range(60)])
    assert batchscore(*command, "--part-of", "1/2").exit_code == 1
    verified = batchscore("verify", "out")
    assert (verified.exit_code, shlex.join(command) + " --incremental\n" in verified.stdout) == (1, True), (
        verified
    )


def test_a_worker_whose_share_another_one_has_at_the_moment_says_so(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    command, notice = share_command(deployment), "Another process on this machine is scoring the share 1/2 ("
    deployment.will_be_slow(60.0, times=1)
    with batchscore.start(*command, "--part-of", "1/2") as first:
        deployment.wait_for(1)
        for share, is_said in (("2/2", False), ("1/3", False), ("1/2", True)):
            run = batchscore(*command, "--part-of", share)
            assert (run.exit_code, notice in run.said) == (0, is_said), run
        first.interrupt(signal.SIGKILL)
        first.popen.wait()
    assert notice not in batchscore(*command, "--part-of", "1/2").said
    assert batchscore("verify", "out").exit_code == 0
    assert not list(Path("scratch").iterdir())


def test_workers_with_a_limit_score_the_first_rows_together(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    for k in (1, 2):
        run = batchscore(*share_command(deployment, "--part-of", f"{k}/2", "--limit", "25"))
        assert run.exit_code == 0, run
    assert whole("out", "chat")[0].keys() == {("a.csv", row) for row in range(25)}
    assert verify_output(Path("out")).exit_code is ExitCode.CONTINUE_LATER
    # The rest is scored by a run that has the output for itself.
    assert batchscore(*share_command(deployment)).exit_code == 0
    assert verify_output(Path("out")).exit_code is ExitCode.DONE
    assert deployment.statistics().statuses["200"] == 60


@pytest.mark.parametrize(
    ("more", "said"),
    [
        *((["--part-of", text], "--part-of is") for text in ("0/4", "5/4", "x", "")),
        (["--part-of", "auto"], "finds no worker number"),
        (["--part-of", "1/2", "--overwrite"], "--part-of and --overwrite"),
        (["--part-of", "1/2", "--incremental"], "--part-of and --incremental"),
        (["--part-of", "1/2", "--via", "batch"], "one process is enough for all batches"),
        (["--part-of", "1/2", "-o", "out.jsonl"], "--part-of: several workers cannot write the one file"),
        (["--part-of", "1/2", "-o", "-"], "keeps no output for --part-of"),
        (["--part-of", "1/2", "-o", "s3://bucket/out"], "--part-of needs an output on a disk"),
    ],
)
def test_what_a_share_cannot_be_is_refused(
    more: list[str], said: str, batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["a row"])
    command = ["score", "a.csv", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, *([] if "-o" in more else ["-o", "out"]), *more)
    assert run.exit_code == 2, run
    assert said in run.said
    assert not Path("out").exists()
