"""What share of a run's CPU do its course and its page take? report_cost.py [--runs N].

Measured within one run: the course is timed event by event, less what timing takes, and the page after the
run. Embeddings are 20,000 rows in requests of 256, chat is 5,000 rows of one request each.
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

import openai
from rig import CLIENT_CORE, build_stub, make_rows, running_stub, write_input

from batchscore.configuration import resolve
from batchscore.report.timeline import Timeline
from batchscore.reporting.at_end import with_page
from batchscore.run import score_files

KINDS = {"embeddings": (20000, {"batch_size": 256}), "chat": (5000, {"concurrency": 64, "max_tokens": 50})}


def measure(task: str, source: str, url: str, output: str) -> dict[str, float]:
    """Run once in this process."""
    heard, seconds, inner = 0, 0.0, Timeline.__call__

    def timed(self: Timeline, event: object) -> None:
        nonlocal heard, seconds
        before = time.thread_time()
        inner(self, event)  # type: ignore[arg-type]
        seconds += time.thread_time() - before
        heard += 1

    Timeline.__call__ = timed  # type: ignore[method-assign]
    before = time.thread_time()
    for _ in range(20000):
        time.thread_time()
    timing = (time.thread_time() - before) / 20000
    flags = {"task": task, "model": "m", "output": output, "endpoint": url, "column": "text", "id": "id"}
    settings = resolve({**flags, **KINDS[task][1]}, environ={})
    # What a run loads when it needs it is loaded before, as for the engine's own measure.
    openai.OpenAI(api_key="-", base_url="http://localhost").close()
    before = time.process_time()
    environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
    finished = score_files(settings, [source], environ=environ, listen=lambda _: None)
    run = time.process_time() - before
    before, wall = time.process_time(), time.monotonic()
    with_page(finished, print)
    return {
        "run_cpu_s": run,
        "events": heard,
        "course_share": (seconds - heard * timing) / run,
        "page_cpu_s": time.process_time() - before,
        "page_s": time.monotonic() - wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(*given.child)))
        return
    build_stub()
    for task, (count, _) in KINDS.items():
        rows = make_rows(count)
        for _ in range(given.runs):
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "input.jsonl"
                write_input(source, rows)
                with running_stub("", Path(folder)) as stub:
                    child = [task, str(source), stub.base_url, str(Path(folder) / "out")]
                    done = subprocess.run(
                        ["taskset", "-c", str(CLIENT_CORE), sys.executable, __file__, "--child", *child],
                        env={**os.environ, "TMPDIR": folder, "NO_PROXY": "*"},
                        stdout=subprocess.PIPE,
                        check=True,
                    )
            found = json.loads(done.stdout.splitlines()[-1])
            print(task, {name: round(value, 4) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
