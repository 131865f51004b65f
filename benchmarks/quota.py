"""Does the engine use its quota without exceeding it? quota.py [NAME ...] [--at-once N] [--stub=OPTIONS].

Every workload runs against a stub that admits 6,000 requests and 1,000,000 tokens a minute; `strict` means
a bucket of one second that starts empty. The table shows

- saturation: tokens admitted / (tokens in the bucket at the first admission + rate x time to the last one);
- the share of requests that were answered 429;
- rows lost, duplicate and wrong;
- seconds, and the seconds that the tokens of all rows need at the rate. For several processes they count
  from the first launch to the last exit, including start-up;
- requests, and rows that were answered twice: those that a killed process had not published yet.

For several processes, one line per process follows: its admitted rows from its first admission to its last,
relative to an equal share of the quota among the processes that were active at the time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import rig

LIMITS = "--rpm 6000 --tpm 1000000"
TOKENS_PER_SECOND = 1_000_000 / 60
BURST = f"{LIMITS} --burst-s 10"
STRICT = f"{LIMITS} --burst-s 1 --init-frac 0"
LATENCY = {"emb": "--latency-ms 50 --dist lognormal", "chat": "--latency-ms 200 --dist lognormal"}
UNKNOWN = "--tokens-per-byte-low 0.2 --tokens-per-byte-high 0.6"
APART = f"{LIMITS} --quota-share 0.25 --no-shared-quota"

#: For several processes: seconds between starts; which one is killed, after which time; how long it is down.
STAGGER_SECONDS = 3.0
VICTIM = 2
KILLED_AFTER_SECONDS = 15.0
GONE_SECONDS = 3.0

LAYOUT = "{:<24} {:>10} {:>8}  {:<22} {:>8} {:>8} {:>9} {:>6}"


@dataclass(frozen=True)
class Case:
    """One workload: `rows` rows of a kind, in equal parts for `processes` processes."""

    kind: str
    rows: int
    stub: str
    client: str = LIMITS
    processes: int = 1


#: The number of rows needs 50 to 60 seconds at the rate.
CASES = {
    "w3semb": Case("emb", 4000, STRICT),
    "w3schat": Case("chat", 3300, STRICT),
    "w3emb": Case("emb", 4000, BURST),
    "w3chat": Case("chat", 3300, BURST),
    "unknown-tokenizer/emb": Case("emb", 2500, f"{STRICT} {UNKNOWN}"),
    "unknown-tokenizer/chat": Case("chat", 2200, f"{STRICT} {UNKNOWN}"),
    "not-given/emb": Case("emb", 4000, STRICT, ""),
    "not-given/chat": Case("chat", 3300, STRICT, ""),
    "four/emb": Case("emb", 5000, STRICT, processes=4),
    "four/chat": Case("chat", 4000, STRICT, processes=4),
    "four-apart/emb": Case("emb", 5000, STRICT, APART, processes=4),
    "four-apart/chat": Case("chat", 4000, STRICT, APART, processes=4),
}


@dataclass
class Part:
    """The rows of one process, and the processes that scored them: two if the first was killed."""

    number: int
    rows: dict[str, str]
    folder: Path
    lives: list[rig.Client] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / f"output-{self.number}"

    def start(self, case: Case, stub: rig.Stub) -> None:
        """Start a process on these rows. It resumes where a killed one stopped."""
        source = self.folder / f"input-{self.number}.jsonl"
        rig.write_input(source, self.rows)
        options = ["--base-url", stub.base_url, "--kind", case.kind, *case.client.split()]
        name = f"client-{self.number}-{len(self.lives)}"
        self.lives.append(rig.launch(rig.ENGINE, source, self.output, options, name))


def make_parts(case: Case, folder: Path) -> list[Part]:
    """Divide the rows into equal parts."""
    rows = list(rig.make_rows(case.rows).items())
    size = -(-len(rows) // case.processes)
    return [Part(number, dict(rows[number * size :][:size]), folder) for number in range(case.processes)]


def are_running(parts: list[Part]) -> bool:
    """Update all processes, and return whether one is running."""
    return sum(life.poll() for part in parts for life in part.lives) > 0


def run_processes(case: Case, parts: list[Part], stub: rig.Stub) -> float:
    """Start, kill and restart processes as planned, wait for all, and return the seconds it took."""
    begun = time.monotonic()
    plan = [(number * STAGGER_SECONDS, "start", part) for number, part in enumerate(parts)]
    if case.processes > 1:
        killed = VICTIM * STAGGER_SECONDS + KILLED_AFTER_SECONDS
        plan += [(killed, "kill", parts[VICTIM]), (killed + GONE_SECONDS, "start", parts[VICTIM])]
    for due, action, part in plan:
        while (left := begun + due - time.monotonic()) > 0:
            are_running(parts)
            time.sleep(min(left, 0.2))
        if action == "start":
            part.start(case, stub)
        else:
            part.lives[-1].kill()
    while are_running(parts):
        if time.monotonic() - begun > rig.CAP_SECONDS:
            for part in parts:
                part.lives[-1].kill()
        time.sleep(0.2)
    return max(part.lives[-1].ended or 0 for part in parts) - begun


def run_case(name: str, extra: str) -> str:
    """Run one workload and return its lines of the report."""
    case = CASES[name]
    options = f"{case.stub} {LATENCY[case.kind]} {extra}"
    with tempfile.TemporaryDirectory() as folder, rig.running_stub(options, Path(folder)) as stub:
        parts = make_parts(case, Path(folder))
        seconds = run_processes(case, parts, stub)
        stats = stub.stats()
        log = [Request.parsed(line) for line in stub.log.read_text().splitlines()]
        if case.processes == 1:
            seconds = parts[0].lives[0].measured().get("run_s") or seconds
        checked = sum((rig.check(part.rows, part.output) for part in parts), rig.Checked())
        complaints = [part.lives[-1].complaint() for part in parts]
    lines = [summary(name, seconds, checked, stats), *filter(None, complaints)]
    if case.processes > 1:
        lines += shares(parts, log, stats["admitted_tokens"] / max(1, stats["admitted_rows"]))
    return "\n".join(lines)


def summary(name: str, seconds: float, checked: rig.Checked, stats: dict[str, Any]) -> str:
    """Return the line of one workload."""
    # Tokens of the rows: without those that a killed process had requested and not published.
    needed = stats["ok_tokens"] * stats["unique_rows"] / max(1, stats["ok_rows"])
    ideal = max(0.0, needed - stats["bucket_start_tokens"]) / TOKENS_PER_SECOND
    refused = stats["r429"] / max(1, stats["requests"])
    figures = (f"{stats['saturation_tokens']:.4f}", f"{refused:.2%}", str(checked))
    asked = (stats["requests"], stats["repeat_rows"])
    return LAYOUT.format(name, *figures, f"{seconds:.1f}", f"{ideal:.1f}", *asked)


class Request(NamedTuple):
    """One line of the stub's log."""

    when: float
    admitted: bool
    rows: int
    mark: int

    @classmethod
    def parsed(cls, line: str) -> Request:
        when, status, rows, _, mark = line.split()
        return cls(float(when), status == "200", int(rows), int(mark, 16))


class Life(NamedTuple):
    """The admitted requests of one process, with their times."""

    name: str
    started: float
    admitted: list[Request]
    refused: int

    @property
    def span(self) -> tuple[float, float]:
        return self.admitted[0].when, self.admitted[-1].when


def lives(parts: list[Part], log: list[Request]) -> Iterator[Life]:
    """Yield the requests of every process, identified by their first text."""
    for part in parts:
        marks = {rig.text_hash(text)[0] for text in part.rows.values()}
        own = [request for request in log if request.mark in marks]
        for turn, client in enumerate(part.lives):
            ended = client.ended or float("inf")
            during = [request for request in own if client.started <= request.when < ended]
            admitted = [request for request in during if request.admitted]
            name = f"    process {part.number + 1}{', again' * turn}"
            yield Life(name, client.started, admitted, len(during) - len(admitted))


def fair_seconds(life: Life, others: list[Life]) -> float:
    """Return the seconds of full quota that equal a fair share while the process was active."""
    begin, end = life.span
    edges = sorted({edge for other in others for edge in other.span if begin <= edge <= end})
    return sum(
        (right - left) / sum(other.span[0] <= left and right <= other.span[1] for other in others)
        for left, right in zip(edges, edges[1:])  # noqa: RUF007, B905 - itertools.pairwise is of 3.10
    )


def shares(parts: list[Part], log: list[Request], tokens_per_row: float) -> list[str]:
    """Return a line for each process: its rows per second compared to a fair share."""
    every = list(lives(parts, log))
    working = [life for life in every if len(life.admitted) > 1]
    lines = [f"{life.name}: admitted {len(life.admitted)} requests" for life in every if life not in working]
    for life in working:
        begin, end = life.span
        rows = sum(request.rows for request in life.admitted[1:])
        relative = rows / (fair_seconds(life, working) * TOKENS_PER_SECOND / tokens_per_row)
        speed = (
            f"{rows / (end - begin):.1f} rows/s over {end - begin:.1f} s, {relative:.2f} of the fair share"
        )
        waited = f"first admitted {begin - life.started:.1f} s after launch"
        lines.append(f"{life.name}: {speed}; {waited}; {life.refused} answered 429")
    return lines


def main() -> None:
    names = sorted({name.split("/")[0] for name in CASES}) + [name for name in CASES if "/" in name]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="\n".join(names))
    parser.add_argument("--at-once", type=int, default=3, help="the number of concurrent workloads")
    parser.add_argument(
        "--stub", default="", help="additional options of the stub: --stub=--no-limit-headers"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    chosen = [name for name in CASES if not given.names or {name, name.split("/")[0]} & set(given.names)]
    rig.build_stub()
    headings = ("workload", "saturation", "429", "lost/dup/wrong", "seconds", "ideal s", "requests", "twice")
    print(LAYOUT.format(*headings), flush=True)
    with ThreadPoolExecutor(given.at_once) as pool:
        for lines in pool.map(lambda name: run_case(name, given.stub), chosen):
            print(lines, flush=True)


if __name__ == "__main__":
    main()
