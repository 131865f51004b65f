"""How fast is the engine compared to a bare loop? compare.py [--runs N] [--only NAME ...].

Runs of both alternate. Rows per second are the correct rows divided by the time of the measured part. The
table shows medians, and the sums of lost, duplicate and wrong rows over all runs.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rig import ENGINE, RAW, Checked, Result, build_stub, make_rows, run_once, write_input


@dataclass(frozen=True)
class Workload:
    """The work of both, and the options of each."""

    kind: str
    rows: int
    stub: str
    raw: str
    engine: str = ""


FAULTS = "--latency-ms 20 --dist lognormal --f500 2 --f503 1 --freset 1 --fhang 0.2 --ftrunc 0.5"

WORKLOADS = {
    "w1": Workload("emb", 20000, "", "--batch 256 --conc 32", "--batch 256"),
    "w1-parquet": Workload("emb", 20000, "", "--batch 256 --conc 32", "--batch 256 --mode parquet"),
    "w2": Workload("chat", 5000, "", "--conc 64"),
    "w2lat": Workload("chat", 5000, "--latency-ms 100", "--conc 500"),
    "w4": Workload("chat", 5000, FAULTS, "--conc 64 --timeout 10"),
}

HEADINGS = ("workload", "raw rows/s", "engine rows/s", "ratio", "raw lost/dup/wrong", "engine lost/dup/wrong")
LAYOUT = "{:<11} {:>11} {:>14} {:>6}  {:<20} {:<24} {}"


def compare(workload: Workload, runs: int) -> tuple[list[Result], list[Result]]:
    """Run both in turn, so that other load on the machine affects both."""
    rows = make_rows(workload.rows)
    raw: list[Result] = []
    engine: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input.jsonl"
        write_input(source, rows)
        for seed in range(1, runs + 1):
            for script, options, results in ((RAW, workload.raw, raw), (ENGINE, workload.engine, engine)):
                arguments = ["--kind", workload.kind, *options.split()]
                stub = f"{workload.stub} --seed {seed}"
                results.append(run_once(script, arguments, rows, source, stub))
    return raw, engine


def speed(results: list[Result]) -> float:
    """Return the median of the rows per second."""
    return median(result.rows_per_second for result in results)


def peak(results: list[Result]) -> str:
    """Return the median of the memory peaks in MiB."""
    return f"{median(result.peak_bytes for result in results) / 2**20:.0f}"


def summed(results: list[Result]) -> str:
    """Return the number of lost, duplicate and wrong rows in all runs."""
    return str(sum((result.checked for result in results), Checked()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    given = parser.parse_args()
    build_stub()
    print(LAYOUT.format(*HEADINGS, "peak RSS MiB raw, engine"), flush=True)
    for name in given.only:
        raw, engine = compare(WORKLOADS[name], given.runs)
        ratio = f"{speed(engine) / speed(raw):.3f}" if speed(raw) else "-"
        speeds = (f"{speed(raw):,.0f}", f"{speed(engine):,.0f}", ratio)
        memory = f"{peak(raw)}, {peak(engine)}"
        print(LAYOUT.format(name, *speeds, summed(raw), summed(engine), memory), flush=True)


if __name__ == "__main__":
    main()
