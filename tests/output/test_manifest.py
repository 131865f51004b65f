"""A manifest comes back as it was written, also one of an earlier version or one that was torn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from batchscore.errors import OutputError
from batchscore.output.fingerprint import differences, shown_fingerprint
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


DOCUMENT = "Compare with https://docs.example/d/{} : {{text}}"
IDS = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms", "2CyjNWt1YSB6oGNeLwCeCAkhnVVrqumct85PhwF3vqnt"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("prompt", DOCUMENT.format(IDS[0]), DOCUMENT.format(IDS[1])),
        ("prompt", '{"password": "red"}', '{"password": "blue"}'),
        ("system", "Bearer HUSH12345", "Bearer HUSH12346"),
        *(
            (name, *({"image_url": {"url": f"https://example.com/img/{each[:25]}"}} for each in IDS))
            for name in ("messages", "params", "schema")
        ),
    ],
)
def test_fingerprints_that_differ_in_what_is_hidden_differ(name: str, first: object, second: object) -> None:
    one, same, other = (shown_fingerprint({name: value, "seed": 7}) for value in (first, first, second))
    assert one == same
    assert one[name] == other[name]
    assert one != other
    (told,) = differences(one, other)
    assert told == f"the part of {name} that is hidden as *** has changed, or was not recorded"
    assert IDS[0][:25] not in str(one)
    assert "HUSH" not in str(one)
    # An earlier version hid nothing, and what is written comes back.
    written = orjson.loads(replace(MANIFEST, fingerprint=MANIFEST.fingerprint | one).to_json())
    assert manifest_from_json(written).fingerprint == MANIFEST.fingerprint | one
    written["fingerprint"] = {name: first, "seed": 7}
    assert manifest_from_json(written).fingerprint == one


def test_a_secret_parameter_may_change_and_other_fingerprints_are_as_they_were() -> None:
    for key in ("HUSH1", "HUSH2"):
        shown = {"params": {"note": "AccountKey=***;"}}
        assert shown_fingerprint({"params": {"note": f"AccountKey={key};"}}) == shown
    plain = {"prompt": "See https://h/v1: {text}", "params": {"seed": 7, "stop": ["a"]}, "keep": ["token"]}
    assert shown_fingerprint(plain) == plain


@pytest.mark.parametrize("hidden", [["prompt"], {"prompt": 1}])
def test_damaged_digests_are_noticed(tmp_path: Path, hidden: object) -> None:
    path = Layout(tmp_path, "chat", ".jsonl").manifest("a.csv")
    write_manifest(path, replace(MANIFEST, fingerprint={**MANIFEST.fingerprint, "hidden": hidden}))
    with pytest.raises(OutputError, match="is not a manifest that batchscore can read"):
        read_manifest(path)


def test_a_fingerprint_of_a_version_that_hid_fewer_parameters_is_the_same(tmp_path: Path) -> None:
    """An output of an earlier version can be resumed."""
    search = {"type": "connection_string", "connection_string": "Endpoint=x;AccountKey=HUSH;"}
    manifest = replace(MANIFEST, fingerprint={"params": {"data_sources": [search], "seed": 7}})
    search_now = search | {"connection_string": "***"}
    found = manifest_from_json(orjson.loads(manifest.to_json()))
    assert found.fingerprint == {"params": {"data_sources": [search_now], "seed": 7}}
