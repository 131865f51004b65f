"""How much CPU does the progress display cost? progress.py [--runs N] [--only NAME ...].

Runs with and without it, on a terminal, alternate. The table shows medians of the CPU seconds of a run. They
include the CPU seconds of the drawing thread, which the table also shows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from compare import WORKLOADS
from rig import ENGINE, build_stub, launch, make_rows, remove, running_stub, wait_until_ended, write_input

LAYOUT = "{:<8} {:>10} {:>10} {:>8} {:>12} {:>16}"


def measured(name: str, source: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """Run the engine once and return the figures that it printed."""
    workload = WORKLOADS[name]
    output = source.with_name("output")
    with running_stub(f"{workload.stub} --seed {seed}", source.parent) as stub:
        arguments = ["--base-url", stub.base_url, "--kind", workload.kind, *workload.engine.split()]
        client = launch(ENGINE, source, output, [*arguments, *options])
        wait_until_ended(client)
    remove(output)
    return client.measured()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=["w1", "w2"])
    given = parser.parse_args()
    build_stub()
    print(LAYOUT.format("workload", "without, s", "with, s", "ratio", "drawing, s", "of the CPU without"))
    for name in given.only:
        without: list[float] = []
        shown: list[float] = []
        drawing: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "input.jsonl"
            write_input(source, make_rows(WORKLOADS[name].rows))
            for seed in range(1, given.runs + 1):
                without.append(measured(name, source, seed, [])["run_cpu_s"])
                figures = measured(name, source, seed, ["--progress"])
                shown.append(figures["run_cpu_s"])
                drawing.append(figures["drawing_cpu_s"])
        before, after, drawn = median(without), median(shown), median(drawing)
        cells = (f"{before:.3f}", f"{after:.3f}", f"{after / before:.3f}", f"{drawn:.4f}")
        print(LAYOUT.format(name, *cells, f"{100 * drawn / before:.2f} %"), flush=True)


if __name__ == "__main__":
    main()
