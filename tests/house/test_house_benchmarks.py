"""The benchmarks still run: their figures are worth nothing if nobody notices that they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchscore.simulator import Running
from conftest import KEY

pytestmark = pytest.mark.process

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["emb", "chat"])
@pytest.mark.parametrize("mode", ["jsonl", "parquet"])
def test_the_measured_client_scores_all_rows(
    simulator: Running, tmp_path: Path, kind: str, mode: str
) -> None:
    from rig import records  # noqa: PLC0415 - as the benchmarks import it

    source, output = tmp_path / "input.jsonl", tmp_path / "output"
    rows = [{"id": f"r{row}", "text": f"row {row}"} for row in range(9)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [source, output, "--base-url", f"{simulator.endpoint}/v1", "--kind", kind, "--mode", mode]
    environ = {**os.environ, "BATCHSCORE_API_KEY": KEY}
    subprocess.run([sys.executable, BENCHMARKS / "engine_run.py", *words], check=True, env=environ)
    found = [*records(output)]
    assert sorted(record["id"] for record in found) == [row["id"] for row in rows]
    assert all(record.get("embeddings") or record.get("chat") for record in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [path.name for path in BENCHMARKS.glob("*.py") if "ArgumentParser" in path.read_text()]
)
def test_each_benchmark_begins(script: str) -> None:
    words = [sys.executable, str(BENCHMARKS / script), "--help"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
