"""How many instructions does a run take? instructions.py [--rows N N] [--kind chat|emb].

callgrind counts them, whatever else the machine is doing. The difference of two runs with at most 64
requests in flight is the price of a row. The rest is the fixed part, with the connections that the run
opens. The price is also counted within the longer run, from a quarter of its rows to three quarters. With
fewer rows than the default, the two prices differ, and neither is right.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rig import CLIENT_CORE, ENGINE, build_stub, make_rows, running_stub, write_input

#: callgrind slows a run fifty times. With this clock, 12 µs pass from one look at it to the next, so that
#: periodic work is done as often as without callgrind.
START = """
import itertools, runpy, sys, time
time.monotonic = itertools.count(1000.0, 12e-6).__next__
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

KINDS = {"chat": "--kind chat --conc 64", "emb": "--kind emb --batch 256 --conc 32"}


def counted(kind: str, rows: int, marks: list[int]) -> tuple[list[int], list[int]]:
    """Return the instructions of `score_files` before, between and after marks, and the rows by then."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "input.jsonl", folder / "output"
        write_input(source, make_rows(rows))
        with running_stub("", folder) as stub:
            counts = folder / "counts"
            options = ["--tool=callgrind", f"--callgrind-out-file={counts}", "--dump-before=os_getppid"]
            command = [
                "taskset",
                "-c",
                str(CLIENT_CORE),
                "valgrind",
                *options,
                f"--log-file={folder / 'log'}",
            ]
            command += [sys.executable, "-c", START, str(ENGINE), str(source), str(output)]
            command += ["--base-url", stub.base_url, *KINDS[kind].split(), "--marks", *map(str, marks)]
            own = {"NO_PROXY": "*", "TMPDIR": name, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ENGINE.parent)}
            done = subprocess.run(
                command, env=os.environ | own, cwd=folder, check=True, stdout=subprocess.PIPE
            )
        dumps = [(folder / f"counts.{number}").read_text() for number in range(2, len(marks) + 3)]
        found = [re.search(r"^totals: (\d+)", dump, re.MULTILINE) for dump in dumps]
        return [int(each[1]) for each in found if each], json.loads(done.stdout.splitlines()[-1])["marks"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[2000, 6000])
    parser.add_argument("--kind", choices=list(KINDS), default="chat")
    given = parser.parse_args()
    build_stub()
    few, many = given.rows
    (short,), _ = counted(given.kind, few, [])
    of_long, (first, last) = counted(given.kind, many, [many // 4, many - many // 4])
    a_row, within = (sum(of_long) - short) / (many - few), of_long[1] / (last - first)
    (one,), _ = counted(given.kind, 1, [])
    print(f"a row, by difference:   {a_row / 1e3:8,.0f} k")
    print(f"a row, within a run:    {within / 1e3:8,.0f} k")
    print(f"the fixed part:         {(short - few * a_row) / 1e6:8,.0f} M")
    print(f"a run of one row:       {one / 1e6:8,.0f} M")


if __name__ == "__main__":
    main()
