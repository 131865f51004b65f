"""Structured output from the command line: records, columns, report, plan, and runs that are killed."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from cli_records import whole

from batchscore import ErrorCode, UsageError, read_scores
from batchscore.simulator import start
from simulated import Deployment
from tickets import SCHEMA

if TYPE_CHECKING:
    from conftest import Cli, Files

#: The columns of answers to the schema.
TEXTS = pa.list_(pa.string())
FIELDS: dict[str, pa.DataType] = {
    **dict.fromkeys(("category", "priority", "summary"), pa.string()),
    "sentiment": pa.float64(),
    "language": pa.string(),
    "is_angry": pa.bool_(),
    "refund": pa.float64(),
    "order": pa.struct({"number": pa.string(), "items": TEXTS, "paid": pa.float64()}),
    "tags": TEXTS,
    "contacts": pa.list_(pa.struct({"name": pa.string(), "role": pa.string()})),
    "replies": pa.int64(),
    "due": pa.string(),
}

VALID = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def command_for(model: str, *more: str) -> list[str]:
    Path("ticket.json").write_text(json.dumps(SCHEMA), "utf-8")
    return ["score", "a.csv", "-o", "out", "--task", "chat", "-m", model, "--column", "text", *more]


def texts(count: int) -> list[str]:
    """Return tickets of some categories and priorities."""
    draw = random.Random(0)
    words = ("billing", "bug", "account"), ("low", "medium", "high")
    return [" ".join(draw.choice(each) for each in words) + f" number {row}" for row in range(count)]


@pytest.mark.slow
def test_a_schema_gives_objects_columns_and_counts(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", texts(40))
    deployment.will(shape="answer_wrong_enum", times=None, when_input_contains="number 7")
    deployment.will(shape="answer_cut_off", times=1, when_input_contains="number 8")
    command = command_for(deployment.name, "--schema", "ticket.json", "--max-retries", "1")
    run = batchscore(*command)
    assert run.exit_code == 3, run
    assert "1 failed" in run.stdout
    scores, errors = whole("out", "chat")
    assert len(scores) == 39
    assert all(VALID.is_valid(record["chat"]) for record in scores.values())
    (error,) = [record["error"] for record in errors.values()]
    # Two fields are wrong, and either may be named.
    assert error.pop("message") in {
        f"The answer does not match the schema: enum at /{name}." for name in ("category", "priority")
    }
    assert error == {
        "code": "invalid_answer",
        "status": 200,
        "attempts": 2,
    }
    merged = batchscore("merge", "out", "chat.parquet")
    assert merged.exit_code == 0, merged
    assert pq.read_schema("chat.parquet").field("chat").type.equals(pa.struct(FIELDS))
    for source in ("out", "chat.parquet"):
        frame = read_scores(source, flatten=True)
        assert list(frame.columns) == ["file", "row", *SCHEMA["properties"], "finish_reason"]
        assert set(frame["category"]) == {"billing", "bug", "account"}
    assert read_scores("out")["chat"].tolist() == read_scores("chat.parquet")["chat"].tolist()
    page = Path("out/report.html").read_text("utf-8")
    assert "Values of the enum fields" in page
    assert "Invalid answers" in page
    assert "1 (2.5 %) of 40 answers did not match the schema." in page
    (record,) = [json.loads(path.read_bytes()) for path in Path("out/runs").glob("*.json")]
    assert record["settings"]["schema"] == SCHEMA

    other = dict(SCHEMA, title="Another")
    Path("other.json").write_text(json.dumps(other), "utf-8")
    refused = batchscore(*["other.json" if word == "ticket.json" else word for word in command])
    assert refused.exit_code == 1
    assert "schema" in refused.stderr
    again = batchscore(*command)
    assert "0 requests" in again.stdout or "done by earlier runs" in again.stdout
    assert deployment.statistics().behaviours_left == 1


def test_a_plan_counts_the_schema_and_says_why_it_is_not_strict(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", texts(10))
    loose = {key: part for key, part in SCHEMA.items() if key != "required"}
    Path("loose.json").write_text(json.dumps(loose), "utf-8")
    plan = ["plan", "a.csv", "--task", "chat", "-m", "gpt-4o", "--column", "text", "--json"]
    without = batchscore(*plan).report
    with_schema = batchscore(*plan, "--schema", "loose.json").report
    assert with_schema["prompt_tokens"] > without["prompt_tokens"] + 10 * 100
    said = with_schema["answer_schema"]
    assert said["sent"] == "json_schema"
    assert "#: required must name the property 'category'" in said["not_strict"]
    assert without["answer_schema"] is None


def test_what_has_no_fields_cannot_be_flattened(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one"])
    run = batchscore(*command_for(deployment.name))
    assert run.exit_code == 0, run
    with pytest.raises(UsageError, match="flatten needs answers with fields"):
        read_scores("out", flatten=True)


def killed_often(batchscore: Cli, command: list[str], kills: int, draw: random.Random) -> Any:
    for _ in range(kills):
        with batchscore.start(*command) as process:
            time.sleep(draw.uniform(2.0, 4.0))
            process.interrupt(signal.SIGKILL)
            process.popen.wait()  # on a fast machine the last one may have ended before
    return batchscore(*command)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_ten_thousand_rows_with_broken_answers_and_three_kills(
    kind: str, batchscore: Cli, files: Files
) -> None:
    """Every row is a valid object or an `invalid_answer`, once; the types in Parquet are the schema's."""
    rows = 10_000
    files.texts("a.csv", texts(rows))
    with start(broken_answers=0.05, latency=0.02, seed=7) as simulator:
        env = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": simulator.key}
        mine = type(batchscore)(env, batchscore.imported)
        command = command_for("gpt-4o", "--schema", "ticket.json", "--format", kind, "--max-retries", "1")
        command += ["--max-concurrency", "16"]
        run = killed_often(mine, command, 3, random.Random(1))
    assert run.exit_code in {0, 3}, run
    frame = read_scores("out", strict=True)
    assert all(VALID.is_valid(answer) or answer is None for answer in frame["chat"])
    refused = frame["finish_reason"] == "refusal"
    assert (frame["chat"].isna() == refused).all()
    errors = [
        record
        for path in Path("out/errors/chat").glob("*")
        for record in (
            pq.read_table(path).to_pylist()
            if kind == "parquet"
            else [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        )
    ]
    assert {record["error"]["code"] for record in errors} <= {ErrorCode.INVALID_ANSWER.value}
    assert sorted([*frame["row"], *(record["row"] for record in errors)]) == list(range(rows))
    # Of 4 % that are broken, 4 % are broken again; a block of code is not.
    assert 2 < len(errors) + refused.sum() < 60
    if kind == "parquet":
        found = pyarrow.dataset.dataset("out/chat", format="parquet").schema.field("chat").type
        assert found.equals(pa.struct(FIELDS))
