"""What do training files of many examples cost in CPU time and memory, to prepare and to check?"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WORDS = (*("the", "printer", "does", "not", "load", "paper", "and", "nobody", "answers"), *"abcdefgh")
TOPICS = ("billing", "hardware", "other")


def write_table(path: Path, rows: int, words: int) -> None:
    """Write a table of random texts with a topic."""
    chosen = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "topic"])
        for _ in range(rows):
            writer.writerow([" ".join(chosen.choices(WORDS, k=words)), chosen.choice(TOPICS)])


def measured(name: str, words: Sequence[str]) -> None:
    """Run a command, and print what it took."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "batchscore", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds = time.perf_counter() - begun
    cpu = used.ru_utime + used.ru_stime
    print(f"{name}: {seconds:.1f} s, CPU {cpu:.1f} s, peak memory {used.ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Measure both commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--words", type=int, default=60, help="of a text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "table.csv", f"{folder}/out"
        write_table(table, given.rows, given.words)
        how = ("--system", "Name the topic.", "--prompt", "{text}", "--answer", "topic")
        measured("prepare", ["finetune", "prepare", str(table), "-o", out, *how])
        measured("check", ["finetune", "check", out])


if __name__ == "__main__":
    main()
