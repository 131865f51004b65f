"""What does a command cost if there are many files or parts? growth.py [--runs N] [--files N] [--parts N].

Each command is a process of its own, from start to end; the figure is its CPU time, user and system, the
minimum of the runs. `--folder` should be in memory: to make many files on a busy disk may take any time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rig import CLIENT_CORE, build_stub, running_stub


def cpu_seconds(words: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Run a command of batchscore; return its seconds of CPU time and its peak memory in MiB."""
    pinned = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "batchscore"]
    process = subprocess.Popen([*pinned, *words], env=environ, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--folder", default="/dev/shm")
    given = parser.parse_args()
    build_stub()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    (folder / "files").mkdir()
    for number in range(given.files):
        (folder / f"files/{number:06}.csv").write_text(f"id,text\n{number},some words of row {number}\n")
    row = '{{"id": {0}, "text": "some words of row {0}"}}\n'
    (folder / "rows.jsonl").write_text("".join(map(row.format, range(10 * given.parts))))
    names = [f"column{number}" for number in range(999)]
    with (folder / "wide.csv").open("w") as file:
        file.write(",".join(("text", *names)))
        for number in range(5_000):
            file.write(f"\nwords of row {number}," + ",".join([f"{number} {name}" for name in names]))
    with running_stub("--dims 8", folder) as stub:
        environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
        # Without bytecode each command would compile all modules again.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        score = ["score", "--task", "embeddings", "-m", "m", "--column", "text", "--quiet"]
        score += ["--endpoint", f"http://127.0.0.1:{stub.port}"]
        of_files = [*score, str(folder / "files"), "-o", str(folder / "out")]
        parts = folder / "parts"
        wide, kept = str(folder / "wide.csv"), str(folder / "kept")
        of_parts = [*score, str(folder / "rows.jsonl"), "-o", str(parts), "--rows-per-part", "10"]
        for name, words, new in [
            (f"{given.files:,} files of one row", of_files, folder / "out"),
            ("the finished run again", of_files, None),
            (f"{given.parts:,} parts of one file", of_parts, parts),
            ("the finished run again", of_parts, None),
            ("report", ["report", str(parts)], None),
            ("verify", ["verify", str(parts)], None),
            ("--version", ["--version"], None),
            ("--help", ["--help"], None),
            ("5,000 rows, 1,000 columns kept", [*score, wide, "-o", kept, "--keep", "*"], folder / "kept"),
            ("merge", ["merge", str(parts), str(folder / "merged.jsonl")], folder / "merged.jsonl"),
        ]:
            found = []
            for _ in range(given.runs):
                if new is not None and new.is_dir():
                    shutil.rmtree(new)
                elif new is not None:
                    new.unlink(missing_ok=True)
                found.append(cpu_seconds(words, environ))
            seconds, memory = min(found)
            print(f"{name:30} {seconds:7.2f} s {memory:6.0f} MiB", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
