"""How accurate is the ETA? eta.py [NAME ...] [--off X] [--at-once N].

Every case is a run of about two minutes against the simulator. The ETA after 2, 10, 20 and 50 % of the rows
is compared with the real end: (shown - real) / time that really remained. `--off 1.2` makes the expected
tokens and requests 20 % too high. Rows have 20 to 200 words. The simulator chooses the length of the answers.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.report.progress.eta import Eta
from batchscore.report.progress.view import Watch
from batchscore.rows import Event, Expected, Notice, RowsSettled
from batchscore.run.score_files import score_files
from batchscore.simulator import start

# The client that scripts a deployment of the simulator belongs to the tests.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from simulated import Deployment

LOOKED_AT = (0.02, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Case:
    """One run: its rows, the limits of the service, and the fault that occurs at 8 % of the rows."""

    task: str
    rows: int
    tpm: float | None = None
    rpm: float | None = None
    limits_given: bool = True
    max_tokens: int | None = None
    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    sorted: bool = False
    fault: dict[str, Any] | None = None


SLOW: dict[str, Any] = {"latency": 0.5, "latency_jitter": 2.0}
EMB: dict[str, Any] = {"task": "embeddings", "server": {"latency": 0.1, "latency_jitter": 0.2}}

CASES = {
    "embeddings, tokens": Case(**EMB, rows=4000, tpm=300_000),
    "embeddings, tokens, long rows first": Case(**EMB, rows=4000, tpm=300_000, sorted=True),
    "embeddings, tokens, limits not given": Case(**EMB, rows=4000, tpm=300_000, limits_given=False),
    "embeddings, requests": Case(**EMB, rows=2000, rpm=60, client={"batch_size": 16}),
    "chat, tokens, max_tokens": Case("chat", 1500, tpm=150_000, max_tokens=60, server=SLOW),
    "chat, tokens, answers unbounded": Case("chat", 1500, tpm=150_000, server=SLOW),
    "chat, requests": Case("chat", 1200, rpm=600, server=SLOW),
    "chat, no limits": Case("chat", 1500, server=SLOW, client={"max_concurrency": 16}),
    "chat, requests, a wait of 12 s": Case(
        "chat", 1200, rpm=600, server=SLOW, fault={"status": 429, "retry_after": 12.0, "times": 1}
    ),
    "chat, tokens, an outage": Case(
        "chat", 1500, tpm=150_000, max_tokens=60, server=SLOW, fault={"status": 503, "times": 24}
    ),
}


def rows_of(case: Case) -> list[str]:
    """Return texts of 20 to 200 words."""
    draw = random.Random(11)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 7))) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 200))) for _ in range(case.rows)]
    return sorted(texts, key=len, reverse=True) if case.sorted else texts


@dataclass
class Observer:
    """A listener that records the ETA and triggers the fault."""

    case: Case
    deployment: Deployment
    off: float
    watch: Watch
    shown: dict[float, tuple[float, Eta | None]] = field(default_factory=dict)
    faulty: bool = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            return
        if isinstance(event, Expected):
            event = replace(
                event,
                prompt_tokens=round(event.prompt_tokens * self.off),
                requests=round(event.requests * self.off),
            )
        self.watch(event)
        if not isinstance(event, RowsSettled):
            return
        share = (self.watch.tally.ok) / self.case.rows
        if self.case.fault is not None and share >= 0.08 and not self.faulty:
            self.faulty = True
            threading.Thread(target=lambda: self.deployment.will(**(self.case.fault or {}))).start()
        for wanted in LOOKED_AT:
            if share >= wanted and wanted not in self.shown:
                now = time.monotonic()
                self.shown[wanted] = (now, self.watch.view(now).eta)


def run(name: str, off: float) -> str:
    """Run one case and return its line of the table."""
    case = CASES[name]
    texts = rows_of(case)
    with (
        start(rpm=case.rpm, tpm=case.tpm, key="k", dimensions=64, **case.server) as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        source = Path(folder) / "rows.jsonl"
        source.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
        flags = {
            "task": case.task,
            "model": "any",
            "output": f"{folder}/out",
            "endpoint": f"{running.endpoint}/v1",
            "column": "text",
            "max_tokens": case.max_tokens,
            **({"rpm": case.rpm, "tpm": case.tpm} if case.limits_given else {}),
            **case.client,
        }
        settings = resolve_settings(flags, environ={}).settings
        watch = Watch(settings.charged_answer_tokens)
        observer = Observer(case, Deployment(running.endpoint, "any"), off, watch)
        environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
        begun = time.monotonic()
        finished = score_files(settings, [str(source)], environ=environ, listen=observer)
        ended = time.monotonic()
    assert finished.outcome.ok == case.rows, finished.outcome.reason
    cells = [f"{name:<38} {ended - begun:6.1f} s"]
    for wanted in LOOKED_AT:
        at, eta = observer.shown[wanted]
        left = ended - at
        if eta is None or eta.high is None:
            cells.append(f"{'at least' if eta else '-':>16}")
        else:
            likely = (eta.low + eta.high) / 2
            cells.append(f"{likely - left:+7.1f} s {100 * (likely / left - 1):+4.0f} %")
    expected = watch.expected
    assert expected is not None
    tokens = finished.statistics.prompt_tokens / expected.prompt_tokens
    return "  ".join([*cells, f"tokens real/expected {tokens:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--off", type=float, default=1.0)
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    print(f"{'run':<38} {'took':>8}  " + "  ".join(f"{f'at {each:.0%}':>16}" for each in LOOKED_AT))
    with ThreadPoolExecutor(given.at_once) as pool:
        for line in pool.map(lambda name: run(name, given.off), given.names or list(CASES)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
