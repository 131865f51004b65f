"""Is any row lost, doubled or wrong, or paid twice too often, if runs are killed at random moments?

Each round scores a small folder in one mode (`MODES`), kills the process at random moments, checks the output
after each kill, and lets the last run finish. Figures are printed for each mode:

    python benchmarks/kills.py --seconds 600 --seed 1 plain parquet
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from batchscore import read_scores
from batchscore.errors import ExitCode, InputError
from batchscore.output.verify import verify_output
from batchscore.simulator import Running, start
from simulated import Deployment

#: The modes, with their flags.
MODES = {
    "plain": (),
    "parquet": ("--format", "parquet"),
    "file": (),
    "incremental": ("--incremental",),
    "overwrite": (),
    "shared": ("--shared-output",),
}
FILES, ROWS, AT_ONCE, BATCH = 4, 90, 8, 2


class Campaign:
    """The rounds of one mode, in a folder of its own."""

    def __init__(self, mode: str, simulator: Running, folder: Path, draw: random.Random) -> None:
        self.mode, self.folder, self.draw = mode, folder / mode, draw
        self.found: Counter[str] = Counter()
        self.deployment = Deployment(simulator.endpoint, mode)
        self.environ = os.environ | {"BATCHSCORE_API_KEY": simulator.key}
        self.output = "out.jsonl" if mode == "file" else "out"
        self.command = [sys.executable, "-m", "batchscore", "score", "in", "-o", self.output, "--quiet"]
        self.command += ["--task", "embeddings", "-m", mode, "--endpoint", f"{simulator.endpoint}/v1"]
        self.command += ["--column", "text", "--keep", "text", "--dimensions", "8", "--rows-per-part", "20"]
        self.command += ["--max-concurrency", str(AT_ONCE), "--batch-size", str(BATCH), *MODES[mode]]
        self.known: dict[str, bytes] = {}

    def write(self, version: int) -> dict[tuple[str, int], str]:
        """Write the input; return its texts by file and row. From version to version some rows change."""
        texts: dict[tuple[str, int], str] = {}
        (self.folder / "in").mkdir(parents=True, exist_ok=True)
        for file in range(FILES):
            shift = version if file % 2 else 0
            rows = [f"{file} {row if row % 3 else row + 1000 * shift}" for row in range(ROWS)]
            (self.folder / "in" / f"{file}.csv").write_text("text\n" + "".join(f"{row}\n" for row in rows))
            texts |= {(f"{file}.csv", row): text for row, text in enumerate(rows)}
        return texts

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start a run."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self.command, *more], cwd=self.folder, env=self.environ, stderr=log, stdout=log
            )

    def records(self, inputs: dict[tuple[str, int], str]) -> str:
        """Return how the records differ from the input: `whole`, `incomplete`, or what is wrong."""
        try:
            frame = read_scores(self.folder / self.output)
        except InputError:
            return "incomplete"
        places = list(zip(frame["file"], frame["row"], strict=True))
        if len(set(places)) != len(places):
            return "doubled"
        for place, text, vector in zip(places, frame["text"], frame["embeddings"], strict=True):
            if inputs.get(place) != text:
                return "other rows"
            if self.known.setdefault(text, vector.tobytes()) != vector.tobytes():
                return "wrong"
        return "whole" if len(places) == len(inputs) else "incomplete"

    def check(self, versions: list[dict[tuple[str, int], str]]) -> None:
        """Compare the verdict of `verify` with the records, after a kill."""
        try:
            result = verify_output(self.folder / self.output)
        except InputError:
            self.found["nothing yet"] += 1
            return
        self.found[f"verify {int(result.exit_code)}"] += 1
        if result.exit_code is ExitCode.ACTION_NEEDED:
            self.complain("verify 1", result.to_text())
        if result.exit_code is ExitCode.DONE and "whole" not in [self.records(each) for each in versions]:
            self.complain("called complete", result.to_text())

    def complain(self, what: str, text: str) -> None:
        """Count a violation, and keep the folder."""
        self.found[f"VIOLATION {what}"] += 1
        kept = Path(tempfile.mkdtemp(prefix=f"kills-{self.mode}-"))
        shutil.copytree(self.folder, kept / "folder")
        print(f"{self.mode}: {what}: {kept}\n{text}", flush=True)

    def wait(self, workers: list[subprocess.Popen[bytes]], needed: int) -> None:
        """Wait for some of the `needed` requests and a moment, or for a time, maybe before the first one."""
        if self.draw.random() < 0.15:
            time.sleep(self.draw.uniform(0.3, 2.5))
            return
        count = self.deployment.statistics().count + self.draw.randrange(1, max(needed // 2, 2))
        while self.deployment.statistics().count < count and any(each.poll() is None for each in workers):
            time.sleep(0.005)
        time.sleep(self.draw.choice([0.0, self.draw.uniform(0, 0.1), self.draw.uniform(0, 1)]))

    def round(self) -> None:
        """Score once, with some kills."""
        shutil.rmtree(self.folder, ignore_errors=True)
        inputs = [self.write(0)]
        first: tuple[str, ...] = ()
        self.deployment.reset()
        if self.mode in {"incremental", "overwrite"}:
            assert self.start().wait() == 0
            inputs.append(self.write(1) if self.mode == "incremental" else inputs[0])
            first = ("--overwrite",) if self.mode == "overwrite" else ()
        changed = inputs[-1].items() - inputs[0].items() if self.mode == "incremental" else inputs[-1]
        self.deployment.reset()
        self.deployment.will_be_slow(0.04, times=None)
        kills = overwrites = discarded = 0
        for _ in range(self.draw.randrange(2, 6)):
            if first:
                # An overwriting run sends a word first, and asks for all rows again.
                overwrites, discarded = overwrites + 1, self.answered()
            workers = [self.start(*first) for _ in range(2 if self.mode == "shared" else 1)]
            self.wait(workers, len(changed) // BATCH)
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
                if self.draw.random() < 0.3 and len(workers) > 1:
                    time.sleep(0.2)
            killed = sum(worker.wait() == -signal.SIGKILL for worker in workers)
            kills += killed
            self.check(inputs)
            if self.mode == "overwrite" and (self.folder / "out/manifest/embeddings").is_dir():
                manifests = (self.folder / "out/manifest/embeddings").glob("*.json")
                # What is resumed is not overwritten again.
                if not all(json.loads(each.read_bytes())["state"] == "complete" for each in manifests):
                    first = ()
            if not killed:
                break
        code = self.start().wait()
        if code:
            self.complain(f"last exit code {code}", (self.folder / "log").read_text()[-2000:])
            return
        found = self.records(inputs[-1])
        if found != "whole":
            self.complain(f"records {found}", "")
        if verify_output(self.folder / self.output).exit_code is not ExitCode.DONE:
            self.complain("not verified at the end", verify_output(self.folder / self.output).to_text())
        self.found["rounds"] += 1
        self.found["kills"] += kills
        self.found["rows"] += len(inputs[-1])
        twice = (self.answered() - discarded) * BATCH - len(changed)
        self.found["paid twice"] += max(twice, 0)
        if self.mode != "shared":  # where both workers may ask for the same rows
            self.found["bound"] += kills * AT_ONCE * BATCH
            # The last request of each file may be smaller.
            if twice > (kills * (AT_ONCE + FILES) + bool(overwrites)) * BATCH:
                self.complain(f"paid twice {twice} with {kills} kills", "")

    def answered(self) -> int:
        """Return the number of requests that were answered since the last reset."""
        return self.deployment.statistics().statuses.get("200", 0)


def main() -> None:
    """Run rounds of each mode in turn until time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modes", nargs="*", default=list(MODES))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    until, draw = time.monotonic() + given.seconds, random.Random(given.seed)
    with start(dimensions=8) as simulator, tempfile.TemporaryDirectory(prefix="kills-") as folder:
        campaigns = [Campaign(mode, simulator, Path(folder), draw) for mode in given.modes]
        try:
            while time.monotonic() < until:
                for each in campaigns:
                    each.round()
        finally:
            for each in campaigns:
                print(each.mode, dict(sorted(each.found.items())), flush=True)


if __name__ == "__main__":
    main()
