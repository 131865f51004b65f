"""Memory does not grow with an object: measured as the peak of a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from buckets import Bucket

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


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_large_object_streams(s3: Bucket, tmp_path: Path, suffix: str) -> None:
    rng = random.Random(7)
    texts = [rng.randbytes(1000).hex() for _ in range(80_000)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"text": texts}), path, row_group_size=len(texts), use_dictionary=False)
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert path.stat().st_size > 150 * MEGABYTE
    uri = s3.put(path.name, path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", PEAK, uri], check=True, capture_output=True, text=True, timeout=200
    )
    count, growth = map(int, done.stdout.split())
    assert count == len(texts)
    assert growth < 100 * MEGABYTE, growth / MEGABYTE
