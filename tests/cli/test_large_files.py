"""A gigabyte is scored with the memory that a megabyte needs."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from measured import MEASURE

WORDS = (
    "tide",
    "harbour",
    "bread",
    "flour",
    "bicycle",
    "wheel",
    "star",
    "night",
    "bee",
    "hive",
    "tram",
    "stone",
)
GIGABYTE = 1_000_000_000
MOST_MEGABYTES = 400


def texts() -> list[str]:
    chosen = random.Random(1)
    return [" ".join(chosen.choices(WORDS, k=340)) for _ in range(500)]


def write_csv(path: Path) -> int:
    rows = 0
    pool = texts()
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text\n")
        while file.tell() < GIGABYTE:
            file.writelines(f"{rows + offset},{text}\n" for offset, text in enumerate(pool))
            rows += len(pool)
    return rows


def write_parquet_of_one_row_group(path: Path) -> int:
    rows, pool = 550_000, texts()
    chunks = [
        pa.array([f"{row} {pool[row % 500]}" for row in range(first, first + 50_000)])
        for first in range(0, rows, 50_000)
    ]
    table = pa.table({"id": pa.array(range(rows)), "text": pa.chunked_array(chunks)})
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        writer.write_table(table, row_group_size=rows)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    assert path.stat().st_size > GIGABYTE
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"), [("big.csv", write_csv), ("big.parquet", write_parquet_of_one_row_group)]
)
def test_a_gigabyte_is_scored_in_less_than_400_megabytes(name: str, write: object, tmp_path: Path) -> None:
    rows = write(tmp_path / name)  # type: ignore[operator]
    command = [sys.executable, "-m", "batchscore", "score", name, "-o", "out", "--task", "embeddings"]
    command += ["-m", "any", "--column", "text", "--simulate", "--dimensions", "8", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, summary, kilobytes = done.stdout.splitlines()
    assert f'"rows":{rows},"ok":{rows},"errors":0' in summary
    assert int(kilobytes) / 1024 < MOST_MEGABYTES
