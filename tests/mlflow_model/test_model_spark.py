"""A saved model as a function of Spark, in a session of this machine with workers of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchscore import save_model
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Direct

pyspark = pytest.importorskip("pyspark", reason="pip install pyspark, which is half a gigabyte")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("endpoint"),
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # Spark's own, of pandas and of sockets
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark runs on Java"),
]


@pytest.fixture
def spark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Two tasks at a time, each in a Python process of its own."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_vectors_are_in_their_rows_and_a_failed_row_is_a_value(
    spark: Any, deployment: Deployment, direct: Direct
) -> None:
    import mlflow.pyfunc  # noqa: PLC0415

    save_model("m", task="embeddings", model=deployment.name)
    deployment.will(status=400, times=None, when_input_contains="refused")
    texts = [f"row {number}" for number in range(100)]
    texts[17], texts[40], texts[63] = "a refused row", "", None  # type: ignore[call-overload]
    frame = spark.createDataFrame([(n, text) for n, text in enumerate(texts)], "n int, text string")
    score = mlflow.pyfunc.spark_udf(
        spark,
        str(Path("m").absolute()),
        env_manager="local",
        result_type="embeddings array<float>, error string, error_message string",
    )
    scored = frame.repartition(4).withColumn("scored", score("text")).select("n", "scored.*").collect()
    found = {row["n"]: row for row in scored}
    assert len(scored) == len(found) == 100
    failed = {n: row["error"] for n, row in found.items() if row["error"]}
    assert failed == {17: "invalid_request", 40: "empty_input", 63: "empty_input"}
    good = sorted(found.keys() - failed.keys())
    for n, vector in zip(good, direct.vectors([texts[n] for n in good]), strict=True):
        assert found[n]["embeddings"] == pytest.approx(vector.tolist(), rel=1e-6)
    for n in failed:
        assert not found[n]["embeddings"]
        assert found[n]["error_message"]


def test_a_chat_model_takes_its_columns_and_gives_text(
    spark: Any, deployment: Deployment, direct: Direct
) -> None:
    import mlflow.pyfunc  # noqa: PLC0415
    from pyspark.sql.functions import struct  # noqa: PLC0415

    save_model("m", task="chat", model=deployment.name, prompt="{title}: {text}")
    deployment.will(status=400, times=None, when_input_contains="refused")
    rows = [("a", "the tide"), ("b", "a refused row"), ("c", "a loaf")]
    frame = spark.createDataFrame(rows, "title string, text string")
    score = mlflow.pyfunc.spark_udf(
        spark,
        str(Path("m").absolute()),
        env_manager="local",
        result_type="chat string, finish_reason string, error string, error_message string",
    )
    scored = frame.withColumn("scored", score(struct("title", "text"))).select("title", "scored.*").collect()
    found = {row["title"]: row for row in scored}
    assert {title: row["error"] for title, row in found.items()} == {"a": "", "b": "invalid_request", "c": ""}
    assert found["a"]["chat"] == direct.chat("a: the tide")
    assert found["b"]["chat"] == ""
    assert found["c"]["finish_reason"] == "stop"
