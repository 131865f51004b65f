"""What does it cost to force published files to the disk? sync.py [--runs N] [--folder FOLDER] [--only NAME].

Runs with and without the setting `sync` alternate, in one process, over the same input, against the stub. The
figures are medians of the seconds of a run, and their ratio. FOLDER is on the disk to be measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from rig import CLIENT_CORE, build_stub, make_rows, running_stub, write_input

from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.run.score_files import score_files

#: Name → number of files, rows of each, and settings.
WORKLOADS = {
    "embeddings, 1 file of 8,000": (1, 8000, {"task": "embeddings", "batch_size": 256}),
    "the same, parquet": (1, 8000, {"task": "embeddings", "batch_size": 256, "format": "parquet"}),
    "chat, 1 file of 4,000": (1, 4000, {"task": "chat", "max_concurrency": 64, "max_tokens": 50}),
    "chat, 40 files of 100": (40, 100, {"task": "chat", "max_concurrency": 64, "max_tokens": 50}),
    "chat, 500 files of 1": (500, 1, {"task": "chat", "max_concurrency": 64, "max_tokens": 50}),
}


def measure(source: Path, output: Path, url: str, flags: dict[str, object]) -> float:
    """Return the seconds of one run into a new folder."""
    given = {"model": "m", "output": str(output), "endpoint": url, "column": "text"} | flags
    settings = resolve_settings(given, environ={}).settings
    environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
    begun = time.perf_counter()
    end = score_files(settings, [str(source)], environ=environ, listen=lambda _: None)
    seconds = time.perf_counter() - begun
    assert end.exit_code == 0, end.outcome.reason
    shutil.rmtree(output)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    given = parser.parse_args()
    build_stub()
    os.sched_setaffinity(0, {CLIENT_CORE})
    for name in given.only:
        files, rows, flags = WORKLOADS[name]
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            source = Path(folder) / "in"
            source.mkdir()
            texts = list(make_rows(files * rows).items())
            for number in range(files):
                write_input(source / f"{number}.jsonl", dict(texts[number * rows : (number + 1) * rows]))
            seconds: dict[bool, list[float]] = {False: [], True: []}
            with running_stub("", Path(folder)) as stub:
                for turn in range(given.runs + 1):
                    for sync in (False, True):
                        took = measure(source, Path(folder) / "out", stub.base_url, flags | {"sync": sync})
                        if turn:  # the first of each loads imports
                            seconds[sync].append(took)
        without, with_sync = median(seconds[False]), median(seconds[True])
        print(f"{name:<30} {without:.2f} s, {with_sync:.2f} s, ratio {with_sync / without:.3f}", flush=True)


if __name__ == "__main__":
    main()
