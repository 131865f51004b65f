"""Is any row lost, doubled or paid for twice if runs through the Batch API are killed and calls fail?

Each round scores some rows in seven chunks, with faults in calls, lines and batches. It kills the process at
changes of the output and at random moments, and lets the last run finish:

    python benchmarks/batch_kills.py --rounds 200 --rows 3000 --seed 1

A round takes about 5 seconds, most of it on one core. Several with other seeds may run side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import prefork
from batch_runs import records, write_rows
from batchscore.batch.custom_id import read_id
from batchscore.errors import ExitCode
from batchscore.output.submitted import Chunks
from batchscore.output.verify import verify_output
from batchscore.simulator import Running, start
from simulated import Project

TESTS = Path(__file__).resolve().parent.parent / "tests"
SCRIPT = TESTS / "batch" / "killed_run.py"
CHUNKS, BATCH_ROUNDS = 7, 5

#: Most changes of the output that a run makes before its end, about.
MOMENTS = 140

#: Seconds within which runs are killed at random, and those that no run takes.
LONGEST_RUN, MOST_SECONDS = 2.0, 120.0

#: Calls whose replies may be lost, with and without their effect, and those that may fail.
LOST, READS = ("upload", "create"), ("get_batch", "get_file", "list_batches", "list_files", "delete_file")


class Campaign:
    """The rounds in one folder."""

    def __init__(self, simulator: Running, server: prefork.Server, rows: int, draw: random.Random) -> None:
        self.simulator, self.server, self.rows, self.draw = simulator, server, rows, draw
        self.found: Counter[str] = Counter()

    def spoil(self, project: Project) -> bool:
        """Add faults; return whether a batch may surface after it was looked for, which is paid for twice."""
        draw = self.draw
        for kind in LOST:
            for _ in range(draw.randrange(3)):
                happened = draw.random() < 0.5
                lost: dict[str, Any] = draw.choice([{"drop": True}, {"status": 500}])
                project.will(kind, skip=draw.randrange(4), happened=happened, **lost)
                self.found[f"{kind} lost, {'done' if happened else 'not done'}"] += 1
        for kind in READS:
            if draw.random() < 0.4:
                project.will(kind, skip=draw.randrange(4), status=draw.choice([429, 502, 503]), times=1)
        for _ in range(draw.randrange(3)):
            project.will("download", skip=draw.randrange(6), cut_after=draw.randrange(1, 200_000))
            self.found["downloads cut"] += 1
        rules: dict[str, Any] = {"validating": 0.02, "in_progress": draw.uniform(0, 0.4), "finalizing": 0.02}
        # After it, batches end of which `expire` lets only a part run.
        rules["window"] = 3.0
        for line in ("missing", "status_zero", "duplicate", "foreign_id", "cut_off"):
            if draw.random() < 0.3:
                project.will_spoil(line=line, share=0.01, times=5)
        for status in (429, 500):
            project.will_spoil(share=0.01, status=status, times=5)
        late = draw.random() < 0.15
        if late:
            project.will("create", skip=draw.randrange(CHUNKS), drop=True, happened=True)
            # Some are listed only after the last run has ended.
            rules |= {"batch_hidden": draw.choice([0.5, 1000.0]), "in_progress": 1.0}
        project.set_rules(**rules)
        return late

    def expire(self, project: Project) -> None:
        """Let some batches expire with a part of their rows, or cancel what runs now as a person would."""
        if self.draw.random() < 0.4:
            project.set_rules(done_at_most=0.6, window=0.3)
            self.found["with expired batches"] += 1
        elif self.draw.random() < 0.4:
            self.found["batches cancelled"] += cancel_running(self.simulator, project)

    def run(self, project: Project, moment: int = 0, kill_after: float | None = None) -> int:
        """Run to the end, to a change of the output, if `moment` is not 0, or for some seconds."""
        words = [self.simulator.endpoint, project.key, str(moment)]
        words += ["--rows", str(self.rows), "--rounds", str(BATCH_ROUNDS)]
        process = self.server.start(words, os.environ, Path.cwd(), SCRIPT)
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        with process.stdout, process.stderr, Path("log").open("a") as log:
            log.writelines(process.communicate(MOST_SECONDS))
        return process.wait()

    def round(self, number: int) -> None:
        """Score once, with some kills."""
        write_rows(self.rows)
        project = Project(self.simulator.endpoint, self.simulator.key, f"kills-{number}")
        late = self.spoil(project)
        for _ in range(self.draw.randrange(1, 5)):
            at_change = self.draw.random() < 0.6
            moment = self.draw.randrange(1, MOMENTS) if at_change else 0
            seconds = None if at_change else self.draw.uniform(0.05, LONGEST_RUN)
            killed = self.run(project, moment, seconds) == -signal.SIGKILL
            self.found["kills"] += killed
            if not killed:
                break
            self.expire(project)
        project.drop_faults()
        project.set_rules(validating=0, in_progress=0.0, finalizing=0, done_at_most=1.0, window=86_400)
        for _ in range(3):
            code = self.run(project)
            if code != ExitCode.ROWS_FAILED:
                break
        self.found["batches"] += project.books().happened["create"]
        self.check(project, code)
        self.check_reports(project, late=late)
        self.found["rounds"] += 1
        project.reset()

    def check(self, project: Project, code: int) -> None:
        """Compare the records with the input, and what was executed with what was needed."""
        said = Path("log").read_text()
        if code:
            self.complain(f"exit code {code}", said[-3000:])
            return
        found = records()
        if sorted(found) != list(range(self.rows)) or any("error" in each for each in found.values()):
            self.complain("records", f"{len(found)} of {self.rows}")
        if verify_output(Path("out")).exit_code is not ExitCode.DONE:
            self.complain("verify", verify_output(Path("out")).to_text())
        twice = {name[1:9] for name in project.executions(2) if read_id(name)}
        made = {chunk_of(batch) for batches in made_twice(project) for batch in batches}
        if not twice <= made:
            self.complain("executed twice in one batch", f"{sorted(twice - made)}")

    def check_reports(self, project: Project, *, late: bool) -> None:
        """Check that each file of which two batches were made was reported, when that was done and later.

        It is the one case that no client can exclude: a batch is listed after it was looked for.
        """
        for batches in made_twice(project):
            self.found["files with two batches"] += 1
            if not late:
                self.complain("two batches", f"of one file, though each is listed at once: {batches}")
            said, key = Path("log").read_text(), chunk_of(batches[0])
            if count_named(said, batches) < len(batches) - 1:
                state = Path(f"out/.batchscore/batches/chat/{key}.json")
                kept = state.exists() and Chunks(state.parent).read(key).unconfirmed
                if "It is created again." not in said or "had no usable reply" not in said or not kept:
                    self.complain("two batches without a word", f"{key} {kept=} {batches}\n{said}")
                self.found["of these, one was listed after the end"] += 1
        project.set_rules(batch_hidden=0.0)
        if self.run(project):
            self.complain("exit code of the run that looks again", Path("log").read_text()[-3000:])
        for batches in made_twice(project):
            if count_named(said := Path("log").read_text(), batches) != len(batches) - 1:
                self.complain("two batches that were never reported", f"{batches}\n{said}")

    def complain(self, what: str, text: str) -> None:
        """Count a violation, and show it."""
        self.found[f"VIOLATION {what}"] += 1
        print(f"round {self.found['rounds']}: {what}: {text}", flush=True)


def made_twice(project: Project) -> list[list[dict[str, Any]]]:
    """Return the batches of each file that has several."""
    by_file: dict[str, list[dict[str, Any]]] = {}
    for batch in project.books().batches:
        by_file.setdefault(batch["input_file_id"], []).append(batch)
    return [batches for batches in by_file.values() if len(batches) > 1]


def chunk_of(batch: dict[str, Any]) -> str:
    """Return the key of a batch's chunk."""
    return str(batch["metadata"]["chunk"])


def count_named(said: str, batches: list[dict[str, Any]]) -> int:
    """Return how many of these batches were reported as the second one of their file."""
    return sum(f"The second one, {batch['id']}, " in said for batch in batches)


def cancel_running(simulator: Running, project: Project) -> int:
    """Cancel the batches that run, as a person would on the service's pages; return how many there were."""
    import openai  # noqa: PLC0415 - half a second

    client = openai.OpenAI(base_url=f"{simulator.endpoint}/v1", api_key=project.key, max_retries=0)
    count = 0
    try:
        for batch in client.batches.list(limit=100):
            if batch.status in {"validating", "in_progress"}:
                client.batches.cancel(batch.id)
                count += 1
    except openai.APIError:  # it has ended meanwhile, or this call has got a fault
        pass
    return count


def main() -> None:
    """Run rounds until there are enough, or time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    with start() as simulator, contextlib.closing(prefork.Server()) as server:
        campaign = Campaign(simulator, server, given.rows, random.Random(given.seed))
        try:
            for number in range(given.rounds):
                if time.monotonic() > until:
                    break
                with tempfile.TemporaryDirectory(prefix="batch-kills-") as folder:
                    os.chdir(folder)
                    campaign.round(number)
                    os.chdir("/")
        finally:
            print(dict(sorted(campaign.found.items())), flush=True)


if __name__ == "__main__":
    main()
