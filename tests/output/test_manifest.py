"""A manifest comes back as it was written, also one of an earlier version or one that was torn."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import OutputError
from batchscore.output.fingerprint import other_settings, shown_fingerprint
from batchscore.output.layout import Layout, copy_of, stem_of
from batchscore.output.manifest import (
    Commit,
    Manifest,
    PartFile,
    manifest_from_json,
    manifest_paths,
    read_manifest,
    read_manifests,
    write_manifest,
)
from batchscore.output.manifest_check import (
    _FIELDS,
    _NEWER,
    _NEWER_IN_PARTS,
    _PART,
    any_odd,
    are_manifests,
    odd_field,
    refuse_odd,
)
from batchscore.output.missing import RecordedFiles, error_of_missing
from batchscore.output.row_digests import DigestsByRow
from batchscore.output.run_records import RecordedFile

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


@pytest.mark.parametrize(
    ("rows", "whole", "read_all", "missing"),
    [
        (9, True, False, "1 row read but not scored, not read completely"),
        (9, True, True, "1 row read but not scored"),
        (8, False, False, "not read completely"),
    ],
)
def test_rows_without_a_record_do_not_hide_that_a_file_was_not_read_completely(
    rows: int, missing: str, *, whole: bool, read_all: bool
) -> None:
    """A part that is full may be the file's last one: only the run's record knows."""
    part = replace(COMMIT, rows=rows, ok=7, whole=whole)
    manifest = replace(MANIFEST, state="partial", parts={0: part})
    recorded = RecordedFiles(files={"a.csv": RecordedFile("a.csv", "partial", read_all=read_all)})
    assert str(recorded.missing(manifest)) == missing
    known = RecordedFiles().missing(replace(manifest, parts={0: replace(part, rows=8, ok=6, whole=True)}))
    assert str(known) == "1 row read but not scored"


def test_an_error_names_the_files_that_are_missing() -> None:
    files = [f"{name}.csv: not started" for name in "abcdefg"]
    assert "complete: a.csv: not started; b.csv: not started. Run" in str(error_of_missing("out", files[:2]))
    assert "; e.csv: not started; and 2 more. Run" in str(error_of_missing("out", files))


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
    (told,) = other_settings(one, other)
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


SAME = "Please summarise the following text of a customer in one sentence"


@pytest.mark.parametrize(
    ("name", "old", "new", "change"),
    [
        (
            "prompt",
            f"{SAME}.",
            f"{SAME}, in English.",
            "omer in one sentence.', is now …omer in one sentence, in English.'",
        ),
        ("prompt", f"{SAME} A" + "x" * 99, f"{SAME} B" + "x" * 99, "in one sentence Bxxxx"),
        ("prompt", f"{SAME}.", "short", f"was '{SAME[:59]}…, is now 'short'"),
        ("keep", ["*"], [], "keep was *, is now not set"),
        ("keep", ["id", "a b"], None, "keep was id, a b, is now not set"),
        ("usage", False, True, "usage was false, is now true"),
        (
            "params",
            {},
            {"max_tokens": 9, "seed": 1},
            "max_tokens was not set, is now 9; seed was not set, is",
        ),
        ("params", {"stop": ["a"], "seed": 1}, {"seed": 1}, "stop was a, is now not set"),
        ("schema", {"type": "object"}, None, 'schema was {"type": "object"}, is now not set'),
    ],
)
def test_a_difference_shows_where_values_differ(name: str, old: object, new: object, change: str) -> None:
    text = "; ".join(other_settings({name: old}, {name: new}))
    assert change in text
    was, _, now = text.partition(f"{name} was ")[2].partition(", is now ")
    assert was != now or name == "params"
    assert len(text) < 170


@pytest.mark.parametrize("hidden", [["prompt"], {"prompt": 1}])
def test_damaged_digests_are_noticed(tmp_path: Path, hidden: object) -> None:
    path = Layout(tmp_path, "chat", ".jsonl").manifest("a.csv")
    write_manifest(path, replace(MANIFEST, fingerprint={**MANIFEST.fingerprint, "hidden": hidden}))
    with pytest.raises(OutputError, match="is not a manifest that batchscore can read"):
        read_manifest(path)


@pytest.mark.parametrize("depth", [300, 1100])
def test_settings_that_are_nested_too_deeply_are_damage(tmp_path: Path, depth: int) -> None:
    """They can be read, but not be written again."""
    layout = Layout(tmp_path, "chat", ".jsonl")
    path = layout.manifest("a.csv")
    assert isinstance(path, Path)
    write_manifest(path, replace(MANIFEST, fingerprint=MANIFEST.fingerprint | {"params": {"deep": 0}}))
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"deep": 0', b'"deep": ' + b"[" * depth + b"]" * depth))
    assert path.read_bytes() != text
    for read in (lambda: read_manifest(path), lambda: read_manifests(layout)):
        with pytest.raises(OutputError, match="is not a manifest that batchscore can read"):
            read()


def test_a_fingerprint_of_a_version_that_hid_fewer_parameters_is_the_same(tmp_path: Path) -> None:
    """An output of an earlier version can be resumed."""
    search = {"type": "connection_string", "connection_string": "Endpoint=x;AccountKey=HUSH;"}
    manifest = replace(MANIFEST, fingerprint={"params": {"data_sources": [search], "seed": 7}})
    search_now = search | {"connection_string": "***"}
    found = manifest_from_json(orjson.loads(manifest.to_json()))
    assert found.fingerprint == {"params": {"data_sources": [search_now], "seed": 7}}


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=16, max_size=16)), max_size=40))
def test_digests_by_row_are_those_of_a_dictionary(given_rows: list[tuple[int, bytes]]) -> None:
    expected, found = {}, DigestsByRow()
    for row, digest in given_rows:
        if digest != bytes(16):
            expected[1000 + row] = found[1000 + row] = digest
    assert dict(found) == expected
    assert (len(found), bool(found)) == (len(expected), bool(expected))
    assert [found.get(row) for row in (0, 999, 1061)] == [None, None, None]
    for row in list(expected)[:3]:
        del found[row]
        assert row not in found


PART = {
    "part": 0,
    "rows": 3,
    "ok": 2,
    "errors": 1,
    "transient": 1,
    "empty": 0,
    "whole": True,
    "inputs": "ab",
    "attempts": 1,
    "tokens_billed": 2,
    "tokens_kept": 2,
    "row_digests": "xxh3:3",
    "scores": {"name": NAME, "bytes": 9, "digest": "xxh3:1"},
    "error_records": None,
}


def test_every_field_of_a_file_is_checked_before_it_is_used() -> None:
    written = orjson.loads(replace(MANIFEST, simulated=True, place="east").to_json())
    assert written.keys() - {"version"} == _FIELDS.keys() | _NEWER.keys()
    assert not odd_field(written, _FIELDS, _NEWER)
    assert odd_field(written | {"simulated": "yes"}, _FIELDS, _NEWER)


ODD_VALUES = [True, None, -1, 2**53 + 1, 1.0, "1", {}, {"name": 1}, {"format": "csv"}, [0]]


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
@pytest.mark.parametrize(
    "name", [*sorted({*_FIELDS, *_NEWER}), *[f"parts.{name}" for name in PART], "parts.new"]
)
def test_manifests_that_are_checked_together_are_as_each_is_alone(name: str, value: object) -> None:
    written = orjson.loads(replace(MANIFEST, simulated=True, place="east").to_json())
    others = {f"{stem_of(file)}.json": written | {"file": file} for file in ("b.csv", "c.csv")}
    of_part, key = name.startswith("parts."), name.removeprefix("parts.")
    for is_removed in (False, True):
        one = (PART if of_part else written) | {key: value}
        if is_removed:
            del one[key]
        fields = written | {"parts": [one]} if of_part else one
        odd = bool(odd_field(fields, _FIELDS, _NEWER) or odd_field(one, _PART, _NEWER_IN_PARTS) * of_part)
        odd = odd or (key, is_removed) == ("new", False) or fields["task"] != "chat"
        odd = odd or fields["file"] != "a.csv"
        assert are_manifests({"a-5e56e378.json": fields} | others, "chat") is not odd
        with pytest.raises(ValueError, match=r"\w") if odd else nullcontext():
            refuse_odd(fields, "a-5e56e378.json", "chat")


def test_many_manifests_are_read_as_each_is_alone(tmp_path: Path) -> None:
    """Also those that somebody has edited: their settings are those that stand in them."""
    layout = Layout(tmp_path, "chat", ".jsonl")
    for number in range(300):
        file = f"{number}.csv"
        name = layout.part_name(file, 0)
        part = replace(COMMIT, scores=PartFile(name, 9, "x"), error_records=PartFile(name, 7, "y"))
        write_manifest(layout.manifest(file), replace(MANIFEST, file=file, parts={0: part}))
    edited = {
        1: (b'"rows_per_part": 9', b'"rows_per_part": 8'),
        2: (b'\n  "fingerprint"', b'"other": {\n  "fingerprint": 1},\n  "fingerprint"'),
        3: (b',\n  "parts"', b'  ,   "parts"'),
        4: (b"\n", b""),
        5: (b'"problem": ""', b'"problem": "\\"fingerprint\\": {"'),
    }
    for number, (old, new) in edited.items():
        path = layout.manifest(f"{number}.csv")
        assert isinstance(path, Path)
        text = path.read_bytes()
        assert old in text
        path.write_bytes(text.replace(old, new))
    found = read_manifests(layout)
    assert [each.file for each in found] == [read_manifest(path).file for path in manifest_paths(layout)]
    assert found == [read_manifest(path) for path in manifest_paths(layout)]
    shared = [each.fingerprint for each in found if each.file != "1.csv"]
    assert len(set(map(id, shared))) == 1


@pytest.mark.parametrize("value", [True, None, -1, 2**53 + 1, 1.0, "1", {}, {"name": 1}, [0], ""], ids=repr)
@pytest.mark.parametrize("name", PART)
def test_one_odd_object_of_many_is_found(name: str, value: object) -> None:
    assert not any_odd([], _PART, _NEWER_IN_PARTS)
    for part in (PART | {name: value}, {key: PART[key] for key in PART if key != name}, PART):
        odd = bool(odd_field(part, _PART, _NEWER_IN_PARTS))
        assert any_odd([PART, part, PART], _PART, _NEWER_IN_PARTS) is odd


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("folder/a-b_1.csv", "a-b_1"),
        ("a.csv.gz", "a"),
        ("a.gz", "a"),
        ("-a-.csv", "a"),
        ("a.b.csv", "a.b"),
        (f"{'a' * 81}.csv", "a" * 80),
        ("ü b.CSV", "u-b"),
        ("a\n.csv", "a"),
    ],
)
def test_a_stem_is_safe(file: str, stem: str) -> None:
    assert stem_of(file).rpartition("-")[0] == stem
