"""Stores by the command line: a real process, a real server, and no secret on any screen."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from buckets import ACCOUNT_KEY, SECRET, Bucket
from conftest import Cli

SCORE = ["score", "--simulate", "--task", "embeddings", "-m", "m", "--dimensions", "4", "--column", "text"]
TEXT = "text\nthe tide turns\na loaf of bread\n"


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
    manifests = [json.loads(path.read_bytes()) for path in Path("there/manifest/embeddings").iterdir()]
    assert all(manifest["input"].startswith("blake2b:") for manifest in manifests)
    again = batchscore(*SCORE, f"{bucket.uri}/in", "-o", "there")
    assert again.exit_code == 0, again.said


OTHER_KEY = b64encode(SECRET.encode()).decode()

REFUSED = [
    ({"AZURE_STORAGE_KEY": SECRET}, "AZURE_STORAGE_KEY is not the key of a storage account"),
    ({"AZURE_STORAGE_KEY": OTHER_KEY}, "see that these may do it: AZURE_STORAGE_KEY"),
    (
        {"AZURE_STORAGE_KEY": None, "AZURE_STORAGE_SAS_TOKEN": f"?sv=2022-11-02&sig={SECRET}"},
        "refuses access",
    ),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "cannot be reached"),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": f"http://x:{SECRET}@127.0.0.1:1"}, "is not an address such as"),
    ({"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1/other"}, "of another account"),
    ({"AZURE_STORAGE_ACCOUNT": "other"}, "nobody to sign in as was found"),
]


def test_an_azure_store_that_refuses_is_told_in_a_sentence(batchscore: Cli, azure_bucket: Bucket) -> None:
    uri = azure_bucket.put("a.csv", TEXT)
    all_done = batchscore.each(*(([*SCORE, uri, "-o", f"out{n}"], env) for n, (env, _) in enumerate(REFUSED)))
    for done, (_, told) in zip(all_done, REFUSED, strict=True):
        assert done.exit_code == 1
        assert told in done.stderr
        assert not [secret for secret in (SECRET, OTHER_KEY, ACCOUNT_KEY) if secret in done.said]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("{uri}/gone.csv", "does not exist"),
        ("s3://no-such-bucket-of-ours/a.csv", "there is no s3://no-such-bucket-of-ours"),
        ("s3://AKIA:{secret}@bucket/a.csv", "put secrets into the environment"),
        ("https://account.blob.core.windows.net/files/a.csv?sig={secret}", "stores are named as"),
    ],
)
def test_an_input_that_cannot_be_had_is_told_in_a_sentence(
    batchscore: Cli, s3: Bucket, inputs: str, told: str
) -> None:
    done = batchscore(*SCORE, inputs.format(uri=s3.uri, secret=SECRET), "-o", "out")
    assert done.exit_code == 1
    assert told in done.stderr
    assert SECRET not in done.said


def test_an_s3_server_that_is_not_there_is_told_in_a_sentence(batchscore: Cli, s3: Bucket) -> None:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = batchscore(*SCORE, f"{s3.uri}/a.csv", "-o", "out", env=env)
    assert done.exit_code == 1
    assert "the store cannot be reached; see the network, the address and AWS_ENDPOINT_URL" in done.stderr
