"""Memory does not grow with the file: measured as the peak of a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20

PEAK = """
import resource, sys
import pyarrow, pyarrow.parquet
from batchscore.read.files import digest, find_files
from batchscore.read.formats import open_table
from batchscore.read.input_file import ReadOptions

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

file = find_files([sys.argv[1]]).files[0]
before = peak()
count = sum(1 for _ in open_table(file, ReadOptions()).rows)
digest(file.path)
print(count, peak() - before)
"""


def rows_and_growth(path: Path | str) -> tuple[int, int]:
    """Return the rows of a file or object, and the bytes by which reading it grew a process."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    count, growth = done.stdout.split()
    return int(count), int(growth)


def texts(count: int, size: int) -> list[str]:
    rng = random.Random(7)
    return [rng.randbytes(size // 2).hex() for _ in range(count)]


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_parquet_file_of_one_row_group_streams(tmp_path: Path, *, dictionary: bool) -> None:
    table = pa.table({"text": texts(300_000, 2000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300_000, use_dictionary=dictionary)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 1
    assert (tmp_path / "a.parquet").stat().st_size > 300 * MEGABYTE
    count, growth = rows_and_growth(tmp_path / "a.parquet")
    assert count == 300_000
    assert growth < 100 * MEGABYTE


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
def test_a_text_file_streams(tmp_path: Path, name: str) -> None:
    lines = texts(1000, 2000)
    start, line, end = {
        "a.csv": ("text\n", "{}\n", ""),
        "a.jsonl": ("", '{{"text":"{}"}}\n', ""),
        "a.json": ("[", '{{"text":"{}"}},\n', "{}]"),
        "a.txt": ("", "{}\n", ""),
    }[name]
    chunk = "".join(line.format(text) for text in lines)
    with (tmp_path / name).open("w") as file:
        file.write(start)
        file.writelines(chunk for _ in range(100))
        file.write(end)
    count, growth = rows_and_growth(tmp_path / name)
    assert count == 100_000 + (name == "a.json")
    assert growth < 30 * MEGABYTE


@pytest.mark.parametrize("name", ["a.csv", "quoted.csv", "a.jsonl", "a.json", "a.txt"])
def test_one_endless_row_is_not_kept_in_memory(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("w") as file:
        file.write({"a.csv": "text\n", "quoted.csv": 'text\n"', "a.json": '["a", "'}.get(name, '"a"\n'))
        file.writelines("x" * MEGABYTE + ("\n" if name == "quoted.csv" else "") for _ in range(200))
        file.write({"quoted.csv": '"\n"b"\n', "a.json": '", "b"]'}.get(name, '\n"b"\n'))
    count, growth = rows_and_growth(tmp_path / name)
    assert count == (2 if name.endswith(".csv") else 3)
    assert growth < 120 * MEGABYTE


def test_a_gzip_bomb_is_not_unpacked_into_memory(tmp_path: Path) -> None:
    import gzip  # noqa: PLC0415

    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps("x" * 1000) + "\n" for _ in range(300_000))
    assert (tmp_path / "a.jsonl.gz").stat().st_size < 3 * MEGABYTE
    count, growth = rows_and_growth(tmp_path / "a.jsonl.gz")
    assert count == 300_000
    assert growth < 30 * MEGABYTE


def test_a_large_json_object_is_refused_in_little_memory(tmp_path: Path) -> None:
    text = json.dumps("x" * 999)
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"text":[')
        file.writelines(f"{text}," for _ in range(250_000))
        file.write('"y"]}')
    script = PEAK.replace(
        "count =", "try: open_table(file, ReadOptions())\nexcept Exception: pass\ncount = 0 #"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.json")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout.split()[1]) < 100 * MEGABYTE


def test_a_json_object_within_the_limit_stays_within_bounds(tmp_path: Path) -> None:
    text = json.dumps("x" * 999)
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"text":[')
        file.writelines(f"{text}," for _ in range(60_000))
        file.write('"y"]}')
    count, growth = rows_and_growth(tmp_path / "a.json")
    assert count == 60_001
    assert growth < 250 * MEGABYTE
