"""Memory does not grow with an object: measured as the peak of a process of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from buckets import Bucket
from read.test_memory import MEGABYTE, rows_and_growth

pytestmark = pytest.mark.process


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
    count, growth = rows_and_growth(uri)
    assert count == len(texts)
    assert growth < 100 * MEGABYTE, growth / MEGABYTE
