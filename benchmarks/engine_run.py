"""How long does one run of batchscore take? engine_run.py IN OUT --base-url URL --kind emb|chat --conc C ...

The benchmark rig starts it like any other client. The measured part is `score_files`, as the command line
calls it: read, send requests, publish with the ledger. The last line that it prints is JSON: run_s, import_s,
run_cpu_s, version.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

# A run loads these when it needs them; other clients have loaded theirs before they are measured.
import pybase64  # noqa: F401
import uvloop  # noqa: F401

import batchscore.engine.open
import batchscore.output.records.jsonl
import batchscore.report.page.make
import batchscore.request.wire  # noqa: F401
from batchscore import __version__
from batchscore.cli.allocator import choose_allocator
from batchscore.cli.progress import Progress
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.rows import Listen, RowsSettled
from batchscore.run import expected
from batchscore.run.score_files import score_files

MODELS = {"emb": "text-embedding-3-small", "chat": "gpt-4o-mini"}
TASKS = {"emb": "embeddings", "chat": "chat"}


def print_nothing(event: object) -> None:
    """Ignore an event."""
    del event


def marking(marks: list[int], passed: list[int]) -> Listen:
    """Return a listener that calls `os.getppid` at these numbers of settled rows, where callgrind counts.

    It adds the numbers of rows that were settled by then to `passed`.
    """
    settled, left = 0, sorted(marks)

    def listen(event: object) -> None:
        nonlocal settled
        if isinstance(event, RowsSettled):
            settled += event.ok + sum(event.errors.values())
            while left and settled >= left[0]:
                left.pop(0)
                passed.append(settled)
                os.getppid()

    return listen


@contextmanager
def on_a_terminal(measured: dict[str, float]) -> Iterator[Listen]:
    """Yield a progress display on a terminal that another process reads; record its thread's CPU time."""
    ours, theirs = os.openpty()
    with subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, close_fds=True) as reader:
        os.close(ours)
        with os.fdopen(theirs, "w") as stream, Progress(stream) as progress:
            yield progress
            clock = time.pthread_getcpuclockid(progress.thread.ident or 0)
            measured["drawing_cpu_s"] = round(time.clock_gettime(clock), 4)
        reader.kill()


def main() -> None:
    started = float(os.environ.get("BENCH_T0") or time.time())
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--kind", choices=["emb", "chat"], default="emb")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--conc", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-retries", type=int)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--rpm", type=float)
    parser.add_argument("--tpm", type=float)
    parser.add_argument("--quota-share", type=float)
    parser.add_argument(
        "--no-shared-quota", action="store_true", help="use a separate quota file, as on another machine"
    )
    parser.add_argument("--progress", action="store_true", help="show the progress on a terminal")
    parser.add_argument("--marks", type=int, nargs="*", help="for instructions.py")
    parser.add_argument("--mode", default="jsonl", choices=["jsonl", "parquet"])
    given = parser.parse_args()
    task = TASKS[given.kind]
    flags = {
        "task": task,
        "model": MODELS[given.kind],
        "output": f"{given.output}/",  # a name with a suffix would be that of a file
        "endpoint": given.base_url,
        "column": "text",
        "id": "id",
        "format": given.mode,
        "limit": given.limit,
        "max_retries": given.max_retries,
        "timeout": given.timeout,
        "batch_size": given.batch or None,
        "max_concurrency": given.conc or None,
        "rpm": given.rpm,
        "tpm": given.tpm,
        "quota_share": given.quota_share,
        "max_tokens": 50 if given.kind == "chat" else None,
    }
    if given.no_shared_quota:
        tempfile.tempdir = tempfile.mkdtemp()
    settings = resolve_settings(flags, environ={}).settings
    choose_allocator(settings)
    if given.mode == "parquet":
        import batchscore.output.records.columnar  # noqa: F401, PLC0415 - only this format needs it
    environ = {"BATCHSCORE_API_KEY": "k", **os.environ}
    drawing: dict[str, float] = {}
    listener: Listen = print_nothing
    passed: list[int] = []
    if given.marks is not None:
        listener = marking(given.marks, passed)
        # callgrind takes fifty times as long, and so short a run ends before it looks at what is to do.
        expected.LOOK_AFTER_SECONDS = 1e6
    os.getppid()  # callgrind's count begins
    begun, cpu = time.time(), time.process_time()
    with on_a_terminal(drawing) if given.progress else nullcontext(listener) as listen:
        finished = score_files(settings, [given.input], environ=environ, listen=listen)
    os.getppid()  # and ends
    measured = {
        **drawing,
        "run_s": round(time.time() - begun, 4),
        "import_s": round(begun - started, 4),
        "run_cpu_s": round(time.process_time() - cpu, 4),
        "version": __version__,
        "exit_code": int(finished.exit_code),
        "retried": dict(finished.statistics.retried),
        "peak_mib": peak_mib(),
        "marks": passed,
    }
    print(json.dumps(measured))


def peak_mib() -> int | None:
    """Return the peak memory of this process in MiB; `None` if the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if "VmHWM" in line), None)


if __name__ == "__main__":
    main()
