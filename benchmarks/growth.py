"""How do CPU time and memory grow with rows, files, columns, size and parts? growth.py [AXIS...] [--runs N].

Each command is a process of its own, from start to end; the figures are its CPU time, user and system, and
its peak memory: the run with the least time. `--folder` should be in memory: to make many files on a busy
disk may take any time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rig import CLIENT_CORE, build_stub, running_stub

#: What grows, in these steps.
AXES = {
    "rows": (50_000, 200_000, 800_000),
    "files": (1_250, 5_000, 20_000),
    "columns": (10, 100, 1_000),
    "size": (1_000, 100_000, 1_000_000),
    "parts": (1_000, 10_000),
    "start": (1,),
}

#: Rows of the input with many columns, and bytes of that with large rows.
ROWS_OF_COLUMNS, BYTES_OF_ROWS = 5_000, 200_000_000


def cpu_seconds(words: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Run a command of batchscore; return its seconds of CPU time and its peak memory in MiB."""
    pinned = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "batchscore"]
    process = subprocess.Popen([*pinned, *words], env=environ, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def write_input(place: Path, axis: str, size: int) -> list[str]:
    """Write the input of one step; return the settings that it needs."""
    if axis == "files":
        place.mkdir()
        for number in range(size):
            (place / f"{number:06}.csv").write_text(f"id,text\n{number},some words of row {number}\n")
        return []
    with place.open("w") as file:
        if axis == "columns":
            names = [f"column{number}" for number in range(size - 1)]
            file.write(",".join(("text", *names)) + "\n")
            for number in range(ROWS_OF_COLUMNS):
                file.write(
                    ",".join((f"words of row {number}", *[f"{number} {name}" for name in names])) + "\n"
                )
            return ["--keep", "*"]
        rows = {"parts": 10 * size, "size": min(BYTES_OF_ROWS // size, 20_000)}.get(axis, size)
        text = "words " * (size // 6) if axis == "size" else "some words "
        for number in range(rows):
            file.write(f'{{"id": {number}, "text": "{text}of row {number}"}}\n')
    return ["--rows-per-part", "10"] if axis == "parts" else []


def commands(axis: str, source: Path, out: Path, score: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of one step; the first one makes the output."""
    scored = [*score, str(source), "-o", str(out)]
    yield "score", scored
    yield "again", scored
    if axis in {"rows", "parts"}:
        yield "report", ["report", str(out)]
        yield "verify", ["verify", str(out)]
        yield "merge", ["merge", str(out), str(out.with_name("merged.jsonl"))]
    if axis == "start":
        yield "--version", ["--version"]
        yield "--help", ["--help"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"{', '.join(AXES)}; default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", default="/dev/shm")
    given = parser.parse_args()
    build_stub()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    with running_stub("--dims 8", folder) as stub:
        environ = {**os.environ, "BATCHSCORE_API_KEY": "k"}
        # Without bytecode each command would compile all modules again.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        score = ["score", "--task", "embeddings", "-m", "m", "--column", "text", "--quiet"]
        score += ["--endpoint", f"http://127.0.0.1:{stub.port}"]
        for axis, size in [(one, each) for one in given.axes or AXES for each in AXES[one]]:
            source = folder / f"in{'' if axis == 'files' else '.csv' if axis == 'columns' else '.jsonl'}"
            settings, out, figures = write_input(source, axis, size), folder / "out", list[str]()
            for name, words in commands(axis, source, out, [*score, *settings]):
                found = []
                for _ in range(given.runs):
                    if name == "score" and out.is_dir():
                        shutil.rmtree(out)
                    (folder / "merged.jsonl").unlink(missing_ok=True)
                    found.append(cpu_seconds(words, environ))
                seconds, memory = min(found)
                figures.append(f"{name} {seconds:.2f} s {memory:.0f} MiB")
            print(f"{size:9,} {axis:8} {', '.join(figures)}", flush=True)
            shutil.rmtree(out)
            shutil.rmtree(source) if source.is_dir() else source.unlink()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
