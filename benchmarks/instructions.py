"""How many instructions does a run take? instructions.py [--rows N N] [--kind chat|emb].

callgrind counts them, whatever else the machine is doing. The difference of two runs with at most 64
requests in flight is the price of a row. The rest is the fixed part, with the connections that the run
opens. The price is also counted within the longer run, from a quarter of its rows to three quarters.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rig import CLIENT_CORE, ENGINE, build_stub, make_rows, remove, running_stub, write_input

#: Under callgrind all takes fifty times as long. With this clock, 12 µs pass from one look at it to the next,
#: and what is done now and then is done as often as without callgrind.
START = """
import itertools, runpy, sys, time
time.monotonic = itertools.count(1000.0, 12e-6).__next__
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

KINDS = {"chat": "--kind chat --conc 64", "emb": "--kind emb --batch 256 --conc 32"}


def counted(kind: str, rows: int, marks: list[int]) -> list[int]:
    """Return the instructions of `score_files` before the first mark, between two, and after the last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "input.jsonl", folder / "output"
        write_input(source, make_rows(rows))
        with running_stub("", folder) as stub:
            counts = folder / "counts"
            options = [f"--callgrind-out-file={counts}", "--dump-before=os_getppid"]
            command = ["taskset", "-c", str(CLIENT_CORE), "valgrind", "--tool=callgrind", *options]
            command += [sys.executable, "-c", START, str(ENGINE), str(source), str(output)]
            command += ["--base-url", stub.base_url, *KINDS[kind].split(), "--marks", *map(str, marks)]
            environ = {
                **os.environ,
                "NO_PROXY": "*",
                "TMPDIR": name,
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": str(ENGINE.parent),
            }
            subprocess.run(command, env=environ, cwd=folder, check=True, capture_output=True)
        remove(output)
        dumps = [folder / f"counts.{number}" for number in range(2, len(marks) + 3)]
        return [int(re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)[1]) for dump in dumps]  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[2000, 6000])
    parser.add_argument("--kind", choices=list(KINDS), default="chat")
    given = parser.parse_args()
    build_stub()
    few, many = given.rows
    (short,) = counted(given.kind, few, [])
    of_long = counted(given.kind, many, [many // 4, many - many // 4])
    a_row = (sum(of_long) - short) / (many - few)
    within = of_long[1] / (many - 2 * (many // 4))
    (one,) = counted(given.kind, 1, [])
    print(f"a row, by difference:   {a_row / 1e3:8,.0f} k")
    print(f"a row, within a run:    {within / 1e3:8,.0f} k")
    print(f"the fixed part:         {(short - few * a_row) / 1e6:8,.0f} M")
    print(f"a run of one row:       {one / 1e6:8,.0f} M")


if __name__ == "__main__":
    main()
