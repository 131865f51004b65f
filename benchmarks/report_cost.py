"""What share of a run's CPU do progress, timeline and report take? report_cost.py [--runs N].

All is measured within one run. Progress (on a terminal) and timeline are timed event by event, minus the cost
of timing. The CPU time of the drawing thread counts as progress. The report is timed after the run. The
slowest 1 % of the events count as average ones, because the machine did something else meanwhile. Embeddings
are 20,000 rows in requests of 256, chat is 5,000 rows with one request each.
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
from typing import Any

import openai
from engine_run import on_a_terminal
from rig import CLIENT_CORE, build_stub, make_rows, running_stub, write_input

from batchscore.cli.progress import Progress
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.report.page.make import write_report
from batchscore.report.page.sample import quickly
from batchscore.report.timeline import Timeline
from batchscore.rows import Event
from batchscore.run.score_files import score_files

KINDS = {
    "embeddings": (20000, {"batch_size": 256}),
    "chat": (5000, {"max_concurrency": 64, "max_tokens": 50}),
}


def measure(task: str, source: str, url: str, output: str) -> dict[str, float]:
    """Run the engine in this process and return the shares."""
    taken: dict[type, list[float]] = {Timeline: [], Progress: []}

    def time_events(kind: type[Timeline | Progress]) -> None:
        inner, clock, note = kind.__call__, time.perf_counter, taken[kind].append

        def timed(self: Any, event: Event) -> None:
            before = clock()
            inner(self, event)
            note(clock() - before)

        kind.__call__ = timed  # type: ignore[method-assign]

    time_events(Timeline)
    time_events(Progress)
    clocks = [time.perf_counter() for _ in range(20000)]
    timing = (clocks[-1] - clocks[0]) / len(clocks)

    def seconds(kind: type[Timeline | Progress]) -> float:
        found = sorted(taken[kind])[: -(len(taken[kind]) // 100) or None]
        return (sum(found) / len(found) - timing) * len(taken[kind])

    flags = {"task": task, "model": "m", "output": output, "endpoint": url, "column": "text", "id": "id"}
    settings = resolve_settings({**flags, **KINDS[task][1]}, environ={}).settings
    # Load lazy imports before the measured part, as engine_run.py does.
    openai.OpenAI(api_key="-", base_url="http://localhost").close()
    before = time.process_time()
    environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
    drawing: dict[str, float] = {}
    with on_a_terminal(drawing) as listen:
        finished = score_files(settings, [source], environ=environ, listen=listen)
    run = time.process_time() - before
    before, wall = time.process_time(), time.monotonic()
    write_report(finished.output.folder, effort=quickly(finished.statistics.ok))
    page = time.process_time() - before
    # A run writes its page itself, so that time is part of both figures.
    run -= page
    return {
        "run_cpu_s": run,
        "events": len(taken[Timeline]),
        "timeline_share": seconds(Timeline) / run,
        "progress_share": (seconds(Progress) + drawing["drawing_cpu_s"]) / run,
        "page_cpu_s": page,
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
