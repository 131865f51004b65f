"""Files in a store are found and read like files on disk."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore.errors import InputError, UnreadableFile
from batchscore.read.files import digest, find_files
from batchscore.read.formats import open_table
from batchscore.read.input_file import ReadOptions
from batchscore.stores.address import stored_path
from buckets import Bucket
from read.read_samples import outcome

pytestmark = pytest.mark.process

ODD = Path(__file__).parent.parent / "odd"
EXPECTED = ".expected.json"


def names(*inputs: str, output: str | None = None) -> list[str]:
    found = find_files(inputs, output=None if output is None else stored_path(output))
    return [file.name for file in found.files]


@pytest.mark.slow
def test_every_odd_file_reads_as_it_does_on_disk(bucket: Bucket) -> None:
    """All formats with all their faults: the same rows, errors and reasons."""
    for expected in sorted(ODD.glob(f"*{EXPECTED}")):
        path = expected.with_name(expected.name.removesuffix(EXPECTED))
        options = json.loads(expected.read_text()).get("options", {})
        uri = bucket.put(f"odd/{path.name}", path.read_bytes())
        assert outcome(stored_path(uri), **options) == outcome(path, **options), path.name


def tree(where: Bucket | Path) -> str:
    """Make the same files in a bucket or on disk."""
    held = ["b.csv", "a/z.csv", "a.csv", "a/b/c.txt", "Ü ber/50% [1]#?.csv", "a/notes.pdf", "_SUCCESS"]
    hidden = [".hidden.csv", ".git/x.csv", "a/.x/y.csv"]
    ours = ["out/.batchscore/README", "out/embeddings/part-a-00000000-00000.jsonl"]
    ours += ["one.jsonl", "one.jsonl.batchscore/embeddings/part-a-00000000-00000.jsonl"]
    for name in held + hidden + ours:
        if isinstance(where, Bucket):
            where.put(f"in/{name}", "text\nx\n")
        else:
            path = where / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text\nx\n")
    return f"{where.uri if isinstance(where, Bucket) else where}/in"


@pytest.mark.slow
def test_a_walk_over_a_store_finds_what_a_walk_over_a_disk_finds(s3: Bucket, tmp_path: Path) -> None:
    there, here = tree(s3), tree(tmp_path)
    for pattern in (
        "",
        "/",
        "/**",
        "/**/*.csv",
        "/a*",
        "/*/*",
        "/a/b",
        "/a/z.csv",
        "/.git/*",
        "/Ü ber/50% [1]#?.csv",
    ):
        stored, local = find_files([there + pattern]), find_files([here + pattern])
        assert [(file.name, file.suffix, file.size) for file in stored.files] == [
            (file.name, file.suffix, file.size) for file in local.files
        ], pattern
        assert sorted(map(repr, stored.skipped)) == sorted(map(repr, local.skipped)), pattern


def test_the_walk_is_sorted_and_skips_hidden_files_and_outputs(bucket: Bucket) -> None:
    root = tree(bucket)
    assert names(root) == ["a.csv", "a/b/c.txt", "a/z.csv", "b.csv", "Ü ber/50% [1]#?.csv"]
    assert names(root, output=f"{root}/a") == ["a.csv", "b.csv", "Ü ber/50% [1]#?.csv"]
    assert names(f"{root}/a/b", f"{root}/b.csv") == ["a/b/c.txt", "b.csv"]
    with pytest.raises(InputError, match="is an output folder of batchscore"):
        names(f"{root}/out")
    with pytest.raises(InputError, match="is also the output"):
        names(root, output=root)


def test_a_missing_object_is_reported_with_similar_names(bucket: Bucket) -> None:
    root = tree(bucket)
    with pytest.raises(InputError, match=re.escape(f"{root}/B.csw does not exist. In {root} there is b.csv")):
        names(f"{root}/B.csw")
    with pytest.raises(InputError, match="matches no file"):
        names(f"{root}/a/*.tsv")
    with pytest.raises(InputError, match=r"b\.csv is a file, not a folder"):
        names(f"{root}/b.csv/x.csv")
    gone = root.replace("test-", "gone-")
    with pytest.raises(InputError, match=r"gone-.* does not exist.*check its name"):
        names(gone)


def test_inputs_of_two_places_have_no_common_folder(s3: Bucket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="score them in separate runs"):
        names(tree(s3), tree(tmp_path))


def test_an_object_that_vanishes_is_an_unreadable_file(bucket: Bucket) -> None:
    file = find_files([bucket.put("a.csv", "text\nx\n")]).files[0]
    assert digest(file.path).startswith("xxh3:")
    bucket.files.delete_file(f"{bucket.name}/a.csv")
    with pytest.raises(UnreadableFile, match="it is not there any more"):
        open_table(file, ReadOptions())
    with pytest.raises(UnreadableFile, match=re.escape(f"{bucket.uri}/a.csv: it does not exist")):
        digest(file.path)


@pytest.mark.slow
def test_a_large_object_is_read_completely_and_digested_like_a_local_file(
    bucket: Bucket, tmp_path: Path
) -> None:
    """It is larger than the largest range, so ranges are requested ahead; closing it early is harmless."""
    rng = random.Random(3)
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "".join(f"{rng.randbytes(500).hex()}\n" for _ in range(17_000)))
    file = find_files([bucket.put("a.csv", path.read_bytes())]).files[0]
    assert digest(file.path) == digest(path)
    rows = open_table(file, ReadOptions()).rows
    here = open_table(find_files([str(path)]).files[0], ReadOptions()).rows
    assert [row.values for row in rows] == [row.values for row in here]
    rows = open_table(file, ReadOptions()).rows
    assert [next(rows).number for _ in range(3)] == [0, 1, 2]
    rows.close()


def test_a_parquet_file_is_read_by_ranges(bucket: Bucket, tmp_path: Path) -> None:
    if bucket.uri.startswith("gs:"):
        pytest.skip("this emulator serves no ranges from within a large object")
    rng = random.Random(5)
    table = pa.table({"n": range(20_000), "text": [rng.randbytes(200).hex() for _ in range(20_000)]})
    pq.write_table(table, tmp_path / "a.parquet")
    file = find_files([bucket.put("a.parquet", (tmp_path / "a.parquet").read_bytes())]).files[0]
    read = [row.values for row in open_table(file, ReadOptions()).rows]
    assert read == table.to_pylist()
