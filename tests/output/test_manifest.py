"""A manifest comes back as it was written, also one of an earlier version or one that was torn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from batchscore.errors import OutputError
from batchscore.output.layout import Layout
from batchscore.output.manifest import (
    Commit,
    Manifest,
    PartFile,
    copy_of,
    manifest_from_json,
    manifest_paths,
    read_manifest,
    write_manifest,
)

NAME = "part-a-5e56e378-00000.jsonl"
COMMIT = Commit(
    0,
    3,
    2,
    1,
    1,
    whole=True,
    inputs="ab",
    scores=PartFile(NAME, 9, "xxh3:1"),
    error_records=PartFile(NAME, 7, "xxh3:2"),
    row_digests="xxh3:3",
)
MANIFEST = Manifest(
    "a.csv",
    "chat",
    {"format": "jsonl", "rows_per_part": 9},
    input="digest",
    state="complete",
    reported="off",
    parts={0: COMMIT},
)


def test_it_comes_back(tmp_path: Path) -> None:
    path = Layout(tmp_path, "chat", ".jsonl").manifest("a.csv")
    write_manifest(path, MANIFEST)
    assert read_manifest(path) == MANIFEST


@pytest.mark.parametrize(("value", "word"), [(True, "yes"), (False, "no"), (None, "off"), ("yes", "yes")])
def test_earlier_versions_wrote_reported_as_true_false_or_null(value: object, word: str) -> None:
    fields = orjson.loads(MANIFEST.to_json()) | {"reported": value}
    assert manifest_from_json(fields).reported == word


def test_fields_that_earlier_versions_lack_have_defaults() -> None:
    fields = orjson.loads(MANIFEST.to_json())
    del fields["reported"]
    for name in ("empty", "attempts", "tokens_billed", "tokens_kept"):
        del fields["parts"][0][name]
    manifest = manifest_from_json(fields)
    assert (manifest.reported, manifest.costs["attempts"]) == ("no", 0)


def test_a_torn_manifest_is_restored_from_its_copy(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "chat", ".jsonl")
    path = layout.manifest("a.csv")
    write_manifest(copy_of(path), MANIFEST)
    assert manifest_paths(layout) == [path]
    path.parent.mkdir(parents=True)
    path.write_bytes(MANIFEST.to_json()[:40])
    assert read_manifest(path, restore=True) == MANIFEST
    copy_of(path).unlink()
    assert read_manifest(path) == MANIFEST
    path.write_bytes(b"{}")
    with pytest.raises(OutputError, match="is not a manifest that batchscore can read"):
        read_manifest(path)


def test_a_fingerprint_of_a_version_that_hid_fewer_parameters_is_the_same(tmp_path: Path) -> None:
    """An output of an earlier version can be resumed."""
    search = {"type": "connection_string", "connection_string": "Endpoint=x;AccountKey=HUSH;"}
    manifest = replace(MANIFEST, fingerprint={"params": {"data_sources": [search], "seed": 7}})
    search_now = search | {"connection_string": "***"}
    found = manifest_from_json(orjson.loads(manifest.to_json()))
    assert found.fingerprint == {"params": {"data_sources": [search_now], "seed": 7}}
