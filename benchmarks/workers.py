"""How much faster are several workers on one file? workers.py [--runs N] [--workers N] [--only NAME ...].

One worker, and several with `--part-of`, score the same file in turn, against the stub, which shares the last
core with a worker. Each worker is a process on its own core; imports are excluded. The figures are medians:
rows per second of all workers, their ratio, and the CPU time per row of all workers together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rig import LAST_CORE, build_stub, make_rows, running_stub, write_input

# A run loads these when it needs them.
import batchscore.output.records.columnar
import batchscore.request.wire  # noqa: F401
from batchscore.cli.allocator import choose_allocator
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.run.score_files import score_files

#: Name → number of rows, and settings.
WORKLOADS: dict[str, tuple[int, dict[str, object]]] = {
    "w1": (20_000, {"task": "embeddings", "batch_size": 256}),
    "w1-parquet": (20_000, {"task": "embeddings", "batch_size": 256, "format": "parquet"}),
    "w2": (10_000, {"task": "chat", "max_concurrency": 64, "max_tokens": 50}),
}


def work(flags: dict[str, Any], source: str, core: int) -> None:
    """Score as one worker when a line comes, and print the time of the end and the CPU seconds."""
    os.sched_setaffinity(0, {core})
    settings = resolve_settings(flags, environ={}).settings
    choose_allocator(settings)
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
    end = score_files(settings, [source], environ=environ, listen=lambda _: None)
    assert end.exit_code == 0, end.outcome.reason
    print(json.dumps([time.time(), time.process_time() - before]), flush=True)


def measure(flags: dict[str, object], source: Path, output: Path, workers: int) -> tuple[float, float]:
    """Return the seconds until all workers have ended, and their CPU seconds."""
    processes = []
    for k in range(1, workers + 1):
        share = {"part_of": f"{k}/{workers}"} if workers > 1 else {}
        given = json.dumps({"output": str(output), **flags, **share})
        words = [sys.executable, __file__, "--child", given, str(source), str((k - 1) % (LAST_CORE + 1))]
        processes.append(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begun = time.time()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [json.loads(process.communicate()[0]) for process in processes]
    return max(end for end, _ in ended) - begun, sum(cpu for _, cpu in ended)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        work(json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    given = parser.parse_args()
    build_stub()
    for name in given.only:
        count, flags = WORKLOADS[name]
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in.jsonl"
            write_input(source, make_rows(count))
            found: dict[int, list[tuple[float, float]]] = {1: [], given.workers: []}
            for run in range(given.runs):
                for workers, results in found.items():
                    with running_stub("", Path(folder)) as stub:
                        service = {"model": "m", "column": "text", "endpoint": stub.base_url}
                        output = Path(folder) / f"out-{run}-{workers}"
                        results.append(measure(service | flags, source, output, workers))
                    checked = ["-m", "batchscore", "verify", str(output)]
                    subprocess.run([sys.executable, *checked], check=True, stdout=subprocess.DEVNULL)
        speeds = {workers: count / median(wall for wall, _ in each) for workers, each in found.items()}
        cpus = {workers: median(cpu for _, cpu in each) / count * 1e6 for workers, each in found.items()}
        for workers in found:
            print(
                f"{name:<11} {workers} workers {speeds[workers]:>8,.0f} rows/s, {cpus[workers]:.0f} us of "
                f"CPU a row; {speeds[workers] / speeds[1]:.2f} times one worker"
            )


if __name__ == "__main__":
    main()
