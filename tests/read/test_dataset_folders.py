"""What the folders of other tools mean: which files are data, and which columns their names give."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from test_files import names, problems, skipped, touch

from batchscore.errors import InputError
from batchscore.read.files import find_files
from batchscore.read.formats import open_table
from batchscore.read.input_file import ReadOptions
from batchscore.rows import Row


def test_the_rests_of_a_failed_spark_job_are_not_read(tmp_path: Path) -> None:
    for name in ("part-0.csv", "_SUCCESS", "_metadata", "_spark_metadata/0.csv", "_temporary/0/part-0.csv"):
        touch(tmp_path / name)
    touch(tmp_path / ".part-0.csv.crc")
    for inputs in ([tmp_path], [tmp_path / "**" / "*.csv"], [tmp_path / "**"], [tmp_path / "*"]):
        assert names(*inputs) == ["part-0.csv"]
    assert set(skipped(tmp_path)) == {"_SUCCESS", "_metadata", "_spark_metadata/", "_temporary/"}
    # Who names it means it.
    assert names(tmp_path / "_temporary") == ["0/part-0.csv"]
    assert names(tmp_path / "_temp*") == ["_temporary/0/part-0.csv"]
    touch(tmp_path / "_more.csv")
    assert names(tmp_path / "_more.csv") == ["_more.csv"]
    assert names(tmp_path / "*.csv") == ["_more.csv", "part-0.csv"]


def test_what_a_failed_job_of_databricks_left_is_not_read(tmp_path: Path) -> None:
    done, failed = "part-00000-tid-12-ab-3-c000.csv", "part-00000-tid-123-cd-4-c000.csv"
    for name in (done, failed, "_started_12", "_committed_12", "_started_123", "a.csv"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.csv", done]
    assert skipped(tmp_path)[failed] == "the job of Databricks that wrote it has not ended, or has failed"
    assert names(tmp_path / failed) == [failed]
    touch(tmp_path / "_committed_123")
    assert names(tmp_path) == ["a.csv", done, failed]


def cells_of(path: Path, *inputs: Path, columns: frozenset[str] | None = None) -> list[dict[str, Any]]:
    found = find_files([str(each) for each in inputs or [path]])
    rows = [row for file in found.files for row in open_table(file, ReadOptions(columns=columns)).rows]
    return [dict(row.values) for row in rows if isinstance(row, Row)]


def test_partition_folders_give_columns(tmp_path: Path) -> None:
    for folder in ("lang=en/day=2024-01-02", "lang=a%2Fb/day=__HIVE_DEFAULT_PARTITION__", "lang=de/text=own"):
        path = tmp_path / "t.parquet" / folder / "a.csv"
        path.parent.mkdir(parents=True)
        path.write_text("text\nx\n")
    root = tmp_path / "t.parquet"
    assert cells_of(root) == [
        {"lang": "a/b", "day": None, "text": "x"},
        {"lang": "de", "text": "x"},
        {"lang": "en", "day": "2024-01-02", "text": "x"},
    ]
    (file,) = find_files([str(root / "lang=en")]).files
    table = open_table(file, ReadOptions())
    assert (table.columns, table.text_columns) == (("text", "lang", "day"), ("text",))
    # The folders right above an INPUT count, too.
    for inputs in (root / "lang=en", root / "lang=en" / "day=2024-01-02" / "a.csv", root / "lang=en" / "**"):
        assert cells_of(root, inputs) == [{"lang": "en", "day": "2024-01-02", "text": "x"}]
    assert cells_of(root, root / "lang=de", columns=frozenset({"text"})) == [{"text": "x"}]
    (tmp_path / "x=1").mkdir()
    (tmp_path / "x=1" / "a.txt").write_text("line\n")
    assert cells_of(tmp_path / "x=1") == [{"text": "line"}]


def test_files_that_describe_a_hugging_face_dataset_are_not_read(tmp_path: Path) -> None:
    state = ["dataset_dict.json", "train/state.json", "train/dataset_info.json", "train/cache-0123.arrow"]
    for name in (*state, "train/data-00000-of-00001.arrow"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["train/data-00000-of-00001.arrow"]
    assert set(skipped(tmp_path)) == set(state)
    # Elsewhere the same names are data.
    for name in ("plain/state.json", "plain/dataset_info.json.gz", "plain/dataset_dict.json"):
        touch(tmp_path / name)
    assert names(tmp_path / "plain") == ["dataset_dict.json", "dataset_info.json.gz", "state.json"]


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    root = tmp_path / "in" / "table"
    for name in ("old.parquet", "new.parquet", "lang=en/new.parquet", "lang=en/old.parquet"):
        touch(root / name)
    touch(root / "_delta_log" / "0.json").write_text(json.dumps({"protocol": {}}))
    return root


def test_a_table_whose_current_files_are_unknown_is_a_problem(
    delta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    for path in (delta, delta / "lang=en"):
        with pytest.raises(InputError, match=r"is a Delta Lake table.*pip install deltalake"):
            find_files([str(path)])
    touch(delta.parent / "a.csv")
    assert names(delta.parent) == ["a.csv"]
    assert set(problems(delta.parent)) == {"table/"}
    assert "deltalake" in problems(delta.parent)["table/"]
    # A file that is named is read.
    assert names(delta / "old.parquet") == ["old.parquet"]
    touch(delta.parent / "hudi" / ".hoodie" / "x")
    assert "Hudi" in problems(delta.parent)["hudi/"]


class FakeTable:
    """What `deltalake.DeltaTable` says of the table, in releases since 0.15."""

    features: list[str] | None = None

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def protocol(self) -> FakeTable:
        return self

    @property
    def reader_features(self) -> list[str] | None:
        return self.features

    def file_uris(self) -> list[str]:
        if self.features == ["damaged"]:
            raise OSError("the log")
        return [f"{self.folder}/new.parquet", f"{self.folder}/lang=en/new.parquet"]


def test_only_the_current_files_of_a_table_are_read(delta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("deltalake")
    package.DeltaTable = FakeTable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deltalake", package)
    assert names(delta) == ["lang=en/new.parquet", "new.parquet"]
    assert names(delta / "*.parquet") == ["new.parquet"]
    assert names(delta.parent / "**" / "*.parquet") == ["table/lang=en/new.parquet", "table/new.parquet"]
    assert names(delta / "lang=en") == ["new.parquet"]
    for features in (["columnMapping"], ["deletionVectors"], ["damaged"]):
        monkeypatch.setattr(FakeTable, "features", features)
        with pytest.raises(InputError, match="is a Delta Lake table whose"):
            find_files([str(delta)])


@pytest.fixture
def iceberg(tmp_path: Path) -> Path:
    root = tmp_path / "in" / "table"
    for name in ("data/old.parquet", "data/new.parquet", "data/lang=en/new.parquet"):
        touch(root / name)
    for name in ("00001-a.metadata.json", "00010-b.metadata.json", "snap-1.avro"):
        touch(root / "metadata" / name)
    return root


class FakeIceberg:
    """What `pyiceberg.table.StaticTable` says of the table."""

    names: tuple[str, ...] = ("text",)
    deletes: tuple[str, ...] = ()
    dropped: tuple[int, ...] = ()
    folder = ""

    @classmethod
    def from_metadata(cls, path: str) -> FakeIceberg:
        assert path.endswith("/metadata/00010-b.metadata.json")
        return cls()

    def schemas(self) -> dict[int, Any]:
        fields = [SimpleNamespace(field_id=1, name=name) for name in self.names]
        return {number: SimpleNamespace(fields=[field]) for number, field in enumerate(fields)}

    def schema(self) -> Any:
        fields = [field for schema in self.schemas().values() for field in schema.fields]
        return SimpleNamespace(fields=[field for field in fields if field.field_id not in self.dropped])

    def scan(self) -> FakeIceberg:
        return self

    def plan_files(self) -> list[Any]:
        paths = [f"file:{self.folder}/data/{name}" for name in ("new.parquet", "lang=en/new.parquet")]
        return [
            SimpleNamespace(file=SimpleNamespace(file_path=path), delete_files=self.deletes) for path in paths
        ]


@pytest.fixture
def fake_iceberg(iceberg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("pyiceberg.table")
    package.StaticTable = FakeIceberg  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiceberg.table", package)
    monkeypatch.setattr(FakeIceberg, "folder", str(iceberg))


def test_an_iceberg_table_without_its_package_is_refused(
    iceberg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.table", None)
    for path in (iceberg, iceberg / "data", iceberg / "data" / "lang=en"):
        with pytest.raises(InputError, match=r"is an Iceberg table.*pip install pyiceberg"):
            find_files([str(path)])


def test_only_the_current_files_of_an_iceberg_table_are_read(iceberg: Path, fake_iceberg: None) -> None:
    assert names(iceberg) == ["data/lang=en/new.parquet", "data/new.parquet"]
    assert names(iceberg / "data" / "*.parquet") == ["new.parquet"]
    assert names(iceberg / "data" / "lang=en") == ["new.parquet"]
    (iceberg.parent / "link").symlink_to(iceberg)
    assert len(names(iceberg.parent / "link")) == 2
    touch(iceberg / "metadata" / "00010-c.metadata.json")  # of a commit that lost
    with pytest.raises(InputError, match="do not show its current rows"):
        find_files([str(iceberg)])


@pytest.mark.parametrize(
    ("name", "value"), [("names", ("text", "body")), ("deletes", ("1.parquet",)), ("dropped", (1,))]
)
def test_an_iceberg_table_whose_files_do_not_show_its_rows_is_refused(
    iceberg: Path, fake_iceberg: None, monkeypatch: pytest.MonkeyPatch, name: str, value: tuple[str, ...]
) -> None:
    monkeypatch.setattr(FakeIceberg, name, value)
    with pytest.raises(InputError, match="do not show its current rows"):
        find_files([str(iceberg)])


def test_an_iceberg_table_that_was_moved_is_refused(
    iceberg: Path, fake_iceberg: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeIceberg, "folder", "/elsewhere")
    with pytest.raises(InputError, match="was moved: score it where it was written"):
        find_files([str(iceberg)])


@pytest.mark.parametrize("target", ["{name}", "/nowhere"])  # a loop of links cannot be listed
@pytest.mark.parametrize(
    ("name", "inputs"),
    [("_delta_log", ("lang=en", "lang=en/*.csv")), ("metadata", ("", "data", "data/lang=en"))],
)
def test_a_table_whose_log_cannot_be_listed_is_refused(
    tmp_path: Path, name: str, inputs: tuple[str, ...], target: str
) -> None:
    for file in ("lang=en/a.csv", "data/a.csv", "data/lang=en/a.csv"):
        touch(tmp_path / file)
    (tmp_path / name).symlink_to(target.format(name=name))
    for each in inputs:
        with pytest.raises(InputError, match=r"may belong to a table, whose log cannot be listed"):
            find_files([str(tmp_path / each)])
    assert names(tmp_path / "lang=en" / "a.csv") == ["a.csv"]


def test_a_table_of_pyiceberg_is_read_until_a_column_is_dropped(tmp_path: Path) -> None:
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    pytest.importorskip("sqlalchemy")
    catalog = catalogs.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/w")
    catalog.create_namespace("n")
    rows = pa.table({"text": ["a", "b"], "lang": ["en", "de"]})
    table = catalog.create_table("n.t", schema=rows.schema)
    table.append(rows)
    folder = Path(table.location().removeprefix("file://"))
    assert [row["text"] for row in cells_of(folder)] == ["a", "b"]
    table.overwrite(rows.slice(1))
    assert [row["text"] for row in cells_of(folder)] == ["b"]
    with table.update_schema() as update:
        update.delete_column("lang")
    with pytest.raises(InputError, match="do not show its current rows"):
        find_files([str(folder)])


def test_folders_with_names_of_a_table_are_read_like_others(tmp_path: Path) -> None:
    for name in ("metadata/a.json", "data/b.csv"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["data/b.csv", "metadata/a.json"]
    assert names(tmp_path / "data") == ["b.csv"]


def test_a_link_that_leads_nowhere_is_a_problem_only_if_it_may_hold_rows(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    for name in ("b.csv", "folder", "notes.md"):
        (tmp_path / name).symlink_to("/nowhere")
    assert set(problems(tmp_path)) == {"b.csv", "folder"}
    assert set(skipped(tmp_path)) == {"notes.md"}
    (tmp_path / "a.csv").unlink()
    with pytest.raises(InputError, match=r"holds no file .*b\.csv: a link to a file that does not exist"):
        find_files([str(tmp_path)])
