"""Stores by the command line: a real process, a real server, and no secret on any screen."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from pyarrow.dataset import dataset

from batchscore import read_scores
from buckets import ACCOUNT_KEY, SECRET, Bucket
from conftest import Cli

SCORE = ["score", "--task", "embeddings", "-m", "m", "--dimensions", "4", "--column", "text"]
TEXT = "text\nthe tide turns\na loaf of bread\n"


@pytest.mark.slow
def test_a_folder_in_a_store_is_scored_to_the_same_records_as_one_on_disk(
    batchscore: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    held = {"a.csv": TEXT, "b/c.jsonl": '{"text": "a lighthouse"}\n', "d.pdf": "x"}
    for name, text in held.items():
        bucket.put(f"in/{name}", text)
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    both = batchscore.together(
        [*SCORE, f"{bucket.uri}/in", "-o", "there"], [*SCORE, tmp_path / "in", "-o", "here"]
    )
    assert [done.exit_code for done in both] == [0, 0], both
    there, here = (
        {path.name: path.read_bytes() for path in Path(out).glob("embeddings/*")} for out in ("there", "here")
    )
    assert there == here
    assert len(there) == 2
    manifests = [json.loads(path.read_bytes()) for path in Path("there/manifest/embeddings").glob("*.json")]
    assert all(manifest["input"].startswith("xxh3:") for manifest in manifests)
    again = batchscore(*SCORE, f"{bucket.uri}/in", "-o", "there")
    assert again.exit_code == 0, again.said


OTHER_KEY = b64encode(SECRET.encode()).decode()

REFUSED = [
    ({"AZURE_STORAGE_KEY": SECRET}, "AZURE_STORAGE_KEY is not the key of a storage account"),
    ({"AZURE_STORAGE_KEY": OTHER_KEY}, "check the rights of these credentials: AZURE_STORAGE_KEY"),
    (
        {"AZURE_STORAGE_KEY": None, "AZURE_STORAGE_SAS_TOKEN": f"?sv=2022-11-02&sig={SECRET}"},
        "refuses access",
    ),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "cannot be reached"),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": f"http://x:{SECRET}@127.0.0.1:1"}, "is not an address such as"),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1/other"}, "of another account"),
    ({"AZURE_STORAGE_ACCOUNT": "other"}, "no credentials were found"),
]


def test_an_azure_store_that_refuses_is_reported_in_a_sentence(batchscore: Cli, azure_bucket: Bucket) -> None:
    uri = azure_bucket.put("a.csv", TEXT)
    all_done = batchscore.each(*(([*SCORE, uri, "-o", f"out{n}"], env) for n, (env, _) in enumerate(REFUSED)))
    for done, (_, told) in zip(all_done, REFUSED, strict=True):
        assert done.exit_code == 1
        assert told in done.said
        assert not [secret for secret in (SECRET, OTHER_KEY, ACCOUNT_KEY) if secret in done.said]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("{uri}/gone.csv", "does not exist"),
        ("s3://no-such-bucket-of-ours/a.csv", "s3://no-such-bucket-of-ours does not exist"),
        ("s3://AKIA:{secret}@bucket/a.csv", "put secrets into the environment"),
        ("https://account.blob.core.windows.net/files/a.csv?sig={secret}", "write a store's address as"),
    ],
)
def test_an_input_that_cannot_be_read_is_reported_in_a_sentence(
    batchscore: Cli, s3: Bucket, inputs: str, told: str
) -> None:
    done = batchscore(*SCORE, inputs.format(uri=s3.uri, secret=SECRET), "-o", "out")
    assert done.exit_code == 1
    assert told in done.said
    assert SECRET not in done.said


def test_a_missing_s3_server_is_reported_in_a_sentence(batchscore: Cli, s3: Bucket) -> None:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = batchscore(*SCORE, f"{s3.uri}/a.csv", "-o", "out", env=env)
    assert done.exit_code == 1
    assert "the store cannot be reached; check the network, the address and AWS_ENDPOINT_URL" in done.said


TEXTS = "text\n" + "".join(f"the tide turned {row} times\n" for row in range(10))


def parts(bucket: Bucket, format_name: str) -> list[dict[str, object]]:
    """Return the score records of an output in a bucket, read with pyarrow's dataset reader."""
    folder = dataset(f"{bucket.name}/out/embeddings", filesystem=bucket.files, format=format_name)
    return sorted(folder.to_table(columns=["file", "row"]).to_pylist(), key=lambda record: record["row"])


@pytest.mark.slow
def test_a_run_from_store_to_store_is_resumed_and_read_by_pyarrow(batchscore: Cli, bucket: Bucket) -> None:
    format_name = "parquet" if bucket.uri.startswith("s3:") else "json"
    bucket.put("in/a.csv", TEXTS)
    command = [*SCORE, f"{bucket.uri}/in", "-o", f"{bucket.uri}/out", "--rows-per-part", "4"]
    command += ["--format", "parquet"] if format_name == "parquet" else []
    first = batchscore(*command, "--limit", "6")
    assert first.exit_code == 0, first.said
    assert len(parts(bucket, format_name)) == 6
    before = bucket.keys("out/embeddings")
    again = batchscore(*command, "--json")
    assert again.exit_code == 0, again.said
    assert again.report["ok"] == 10
    assert parts(bucket, format_name) == [{"file": "a.csv", "row": row} for row in range(10)]
    frame = read_scores(f"{bucket.uri}/out")
    assert frame["row"].tolist() == list(range(10))
    assert np.stack(frame["embeddings"]).shape == (10, 4)
    assert set(before) < set(bucket.keys("out/embeddings"))
    manifest = json.loads(bucket.get(bucket.keys("out/manifest")[0]))
    assert (manifest["state"], manifest["ok"], len(manifest["parts"])) == ("complete", 10, 3)
    assert len(bucket.keys("out/runs")) == 2
    assert not [key for key in bucket.keys("out") if SECRET.encode() in bucket.get(key)]
    third = batchscore(*command, "--json")
    assert (third.report["ok"], third.report["requests"]) == (10, 0), third.said


@pytest.mark.slow
def test_one_file_in_a_store_is_replaced_at_once_and_a_damaged_part_scored_again(
    batchscore: Cli, s3: Bucket
) -> None:
    uri = s3.put("a.csv", TEXTS)
    command = [*SCORE, uri, "-o", f"{s3.uri}/scores.jsonl", "--rows-per-part", "4"]
    done = batchscore(*command)
    assert done.exit_code == 0, done.said
    assert f"scores: {s3.uri}/scores.jsonl" in done.said
    whole = s3.get("scores.jsonl")
    assert whole.count(b"\n") == 10
    part = s3.keys("scores.jsonl.batchscore/embeddings")[1]
    s3.put(part, s3.get(part)[:-20])
    s3.files.delete_file(f"{s3.name}/scores.jsonl")
    again = batchscore(*command, "--json")
    assert (again.report["ok"], again.report["known"]) == (10, 6), again.said
    assert s3.get("scores.jsonl") == whole
    s3.put("other.jsonl", "x")
    foreign, other = batchscore.together(
        [*SCORE, uri, "-o", f"{s3.uri}/other.jsonl"], [*command, "--usage", "--batch-size", "1"]
    )
    assert "no run with this --output wrote it" in foreign.said
    assert "of another run" in other.said
    assert batchscore(*command, "--usage", "--batch-size", "1", "--overwrite").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("{uri}/file", "is a file. Give a folder"),
        ("{uri}/in", "is also the output"),
        ("s3://no-such-bucket-of-ours/out", "the bucket or container does not exist"),
        ("s3://AKIA:{secret}@bucket/out", "put secrets into the environment"),
        ("abfss://c@account.dfs.core.windows.net/out?sv=1&sig={secret}", "put secrets into the environment"),
    ],
)
def test_an_output_that_cannot_be_written_is_reported_in_a_sentence(
    batchscore: Cli, s3: Bucket, output: str, told: str
) -> None:
    s3.put("in/a.csv", TEXT)
    s3.put("file", TEXT)
    done = batchscore(*SCORE, f"{s3.uri}/in", "-o", output.format(uri=s3.uri, secret=SECRET))
    assert done.exit_code == 1
    assert told in done.said
    assert SECRET not in done.said


@pytest.mark.slow
def test_an_output_in_a_store_is_merged_verified_and_repaired(batchscore: Cli, bucket: Bucket) -> None:
    bucket.put("in/a.csv", TEXTS)
    command = [
        *SCORE,
        f"{bucket.uri}/in",
        "-o",
        f"{bucket.uri}/out",
        "--rows-per-part",
        "4",
        "--shared-output",
    ]
    assert batchscore(*command).exit_code == 0
    right, here, there = batchscore.together(
        ["verify", f"{bucket.uri}/out", "--json"],
        ["merge", f"{bucket.uri}/out", "all.parquet"],
        ["merge", f"{bucket.uri}/out", f"{bucket.uri}/all.jsonl"],
    )
    assert [right.exit_code, here.exit_code, there.exit_code] == [0, 0, 0], (right, here, there)
    assert right.report["rows"] == right.report["ok"] == 10
    assert read_scores("all.parquet")["row"].tolist() == list(range(10))
    merged = [json.loads(line)["row"] for line in bucket.get("all.jsonl").splitlines()]
    assert merged == list(range(10))
    (_, part, _) = bucket.keys("out/embeddings")
    bucket.put(part, bucket.get(part)[:-20])
    bad, again, within = batchscore.together(
        ["verify", f"{bucket.uri}/out"],
        ["merge", f"{bucket.uri}/out", f"{bucket.uri}/all.jsonl"],
        ["merge", f"{bucket.uri}/out", f"{bucket.uri}/out/all.jsonl"],
    )
    assert bad.exit_code == again.exit_code == within.exit_code == 1
    assert "bytes instead of" in bad.stdout
    assert "is in the output folder" in within.said or "was changed after it was written" in within.stderr
    repaired = batchscore("verify", f"{bucket.uri}/out", "--repair")
    assert repaired.exit_code == 4, repaired
    assert "4 rows lost their record" in repaired.stdout
    assert batchscore(*command).exit_code == 0
    assert batchscore("verify", f"{bucket.uri}/out").exit_code == 0


def test_an_address_with_a_secret_is_not_repeated(batchscore: Cli) -> None:
    signed = f"abfss://c@account.dfs.core.windows.net/out?sig={SECRET}"
    for done in batchscore.together(["merge", "out", signed], ["verify", signed]):
        assert done.exit_code == 1
        assert "put secrets into the environment" in done.said
        assert SECRET not in done.said
    assert not list(Path().iterdir())


@pytest.mark.slow
def test_a_workbook_in_a_store_comes_back_as_tables_there(batchscore: Cli, bucket: Bucket) -> None:
    book = openpyxl.Workbook()
    for cells in (["id", "text"], [1, "the tide turns"], [2, "a loaf of bread"]):
        book.active.append(cells)
    data = io.BytesIO()
    book.save(data)
    bucket.put("in/a.xlsx", data.getvalue())
    chat = ["score", "--task", "chat", "-m", "m", "--column", "text"]
    done = batchscore(*chat, f"{bucket.uri}/in", "-o", f"{bucket.uri}/out.csv")
    assert done.exit_code == 0, done.said
    lines = bucket.get("out.csv").decode().split("\r\n")
    assert lines[0] == "id,text,answer,finish_reason,error_code,error_message"
    assert [line.split(",")[:2] for line in lines[1:3]] == [["1", "the tide turns"], ["2", "a loaf of bread"]]
    merged = batchscore("merge", f"{bucket.uri}/out.csv", f"{bucket.uri}/again.xlsx")
    assert merged.exit_code == 0, merged.said
    again = openpyxl.load_workbook(io.BytesIO(bucket.get("again.xlsx"))).active
    assert [cell.value for cell in again["A"]] == ["id", 1, 2]
