"""What do the folders of other tools mean, and what do these leave there: Spark, Hive, Delta Lake, editors?

It knows names, not formats. Only `live_files` opens anything, by the package of the table's own format.
"""

# Paths are strings: a Path for each entry would take longer than the walk.
# ruff: noqa: PTH119, PTH120

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from itertools import takewhile
from urllib.parse import unquote

#: A folder with an entry of this name is a table whose log says which of its files count.
TABLE_MARKS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}

#: A version of an Iceberg table, in its folder `metadata`.
ICEBERG_VERSION = re.compile(r"v?(\d{1,9})(-[\w-]+)?(\.gz)?\.metadata\.json(\.gz)?")

#: The value of a partition folder for null, as Hive and Spark write it.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

EXPORT = "or export the table's rows to Parquet and score those"
UNLISTED = "it may belong to a table, whose log cannot be listed ({}): allow that, or name the files as INPUT"
IN_A_STORE = (
    "it is {}, whose current files are known only on a local disk: copy the table, or export its rows to "
    "Parquet"
)


def is_hidden(name: str, pattern: str = "") -> bool:
    """Whether a name is not that of data, and no message needs to say so; a `pattern` may name it.

    Office has a file `~$name.xlsx` beside each open document, and Windows its own in folders that were shown.
    """
    mark = next((mark for mark in (".", "~$") if name.startswith(mark)), "")
    return not pattern.startswith(mark[0]) if mark else name.lower() in {"desktop.ini", "thumbs.db"}


def is_marked(name: str) -> bool:
    """Whether Spark ignores a name, such as `_temporary` of a failed job; `_day=1` is a partition."""
    return name.startswith("_") and "=" not in name


def table_kind(names: Collection[str], names_in: Callable[[str], Collection[str]]) -> str | None:
    """Return the format of the table whose folder has these names, `None` if it is not a table.

    `names_in` gives the names in a folder below it.
    """
    kind = next((kind for mark, kind in TABLE_MARKS.items() if mark in names), None)
    if kind is None and "metadata" in names and any(map(ICEBERG_VERSION.fullmatch, names_in("metadata"))):
        return "Iceberg"
    return kind


def table_above(folder: str, names_in: Callable[[str], Collection[str]]) -> tuple[str, str] | None:
    """Return the table of which this is a folder of data, and its format; `None` if it is in none."""
    while is_partition(os.path.basename(folder)):
        folder = os.path.dirname(folder)
        if names_in(f"{folder}/_delta_log"):
            return folder, "Delta Lake"
    above = os.path.dirname(folder)
    if os.path.basename(folder) == "data" and any(
        map(ICEBERG_VERSION.fullmatch, names_in(f"{above}/metadata"))
    ):
        return above, "Iceberg"
    return None


def current_paths(folder: str, kind: str, *, on_disk: bool) -> frozenset[str] | str:
    """Return the paths of a table's current files and of their folders, or why they are not known."""
    live = live_files(folder, kind) if on_disk else IN_A_STORE.format(table_text(kind))
    if isinstance(live, str):
        return live
    current = {folder}
    for path in live:
        while path not in current and is_below(path, folder):
            current.add(path)
            path = os.path.dirname(path)  # noqa: PLW2901
    return frozenset(current)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def table_text(kind: str) -> str:
    """Return a table's format with its article."""
    return f"{'an' if kind == 'Iceberg' else 'a'} {kind} table"


def live_files(folder: str, kind: str) -> list[str] | str:
    """Return the paths of the files that hold a table's current rows, or why they are not known."""
    table = table_text(kind)
    if kind not in _LIVE_FILES:
        return f"it is {table}, which batchscore does not read: export its rows to Parquet"
    package, read = _LIVE_FILES[kind]
    try:
        found = read(folder)
    except ImportError:
        return (
            f"it is {table}, and only its log says which files hold its current rows. Install the package "
            f"{package} to score these (pip install {package}), {EXPORT}"
        )
    except Exception as error:  # any error of the package
        return f"it is {table} whose log cannot be read ({type(error).__name__}): repair it, {EXPORT}"
    if found is None:
        return f"it is {table} whose files do not show its current rows: {EXPORT[3:]}"
    paths, real = [re.sub("^file:/+", "/", path) for path in found], os.path.realpath(folder)
    live = [folder + path[len(real) :] if is_below(path, real) else path for path in paths]
    if not all(is_below(path, folder) for path in live):
        return f"it is {table} that was moved: score it where it was written, {EXPORT}"
    return live


def _delta_files(folder: str) -> list[str] | None:
    """Return the current files of a Delta table, `None` if their rows or names are not the table's."""
    from deltalake import DeltaTable  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

    table = DeltaTable(folder)
    features = table.protocol().reader_features or []
    if "columnMapping" in features or ("deletionVectors" in features and _has_deleted_rows(table)):
        return None
    return list(table.file_uris())


def _iceberg_files(folder: str) -> list[str] | None:
    """Return the current files of an Iceberg table, `None` if their rows or names are not the table's.

    Only its catalog knows which version is current, so it is taken for the latest one, if there is one such.
    """
    from pyiceberg.table import StaticTable  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

    found = map(ICEBERG_VERSION.fullmatch, os.listdir(f"{folder}/metadata"))  # noqa: PTH208
    versions = sorted((int(each[1]), each[0]) for each in found if each)
    if len(versions) > 1 and versions[-1][0] == versions[-2][0]:
        return None
    table = StaticTable.from_metadata(f"{folder}/metadata/{versions[-1][1]}")
    fields = {(field.field_id, field.name) for schema in table.schemas().values() for field in schema.fields}
    if any(len(set(names)) < len(fields) for names in zip(*fields, strict=True)):
        return None  # a column was renamed, or another one has its name now
    if fields - {(field.field_id, field.name) for field in table.schema().fields}:
        return None  # older files still hold a column that was dropped
    tasks = list(table.scan().plan_files())
    if any(task.delete_files for task in tasks):
        return None
    return [task.file.file_path for task in tasks]


#: Formats of tables, the package that knows a table's current files, and how they are read with it.
_LIVE_FILES: dict[str, tuple[str, Callable[[str], list[str] | None]]] = {
    "Delta Lake": ("deltalake", _delta_files),
    "Iceberg": ("pyiceberg", _iceberg_files),
}


def _has_deleted_rows(table: object) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    vectors = getattr(table, "deletion_vectors", None)  # older releases do not read such tables
    return vectors is None or pa.table(vectors()).num_rows > 0


def not_data(names: Collection[str], exists: Callable[[str], bool]) -> dict[str, str]:
    """Return the files in a folder that have the suffix of data and are none, and why.

    Hugging Face's `datasets` describes its data there, and a failed job of Databricks leaves its files: it
    begins with `_started_ID` and ends with `_committed_ID`, and each of its files has `-tid-ID-` in its name.
    `exists` says whether there is something at a path below the folder.
    """
    found: set[str] = set()
    has_arrow = any(name.endswith(".arrow") for name in names)
    if "dataset_info.json" in names and ("state.json" in names or has_arrow):
        found.add("dataset_info.json")
        found |= {
            name for name in names if name.startswith(("cache-", "indices")) and name.endswith(".arrow")
        }
        found |= {"state.json"} & set(names)
    if "dataset_dict.json" in names and any(exists(f"{name}/state.json") for name in names):
        found.add("dataset_dict.json")
    if "dataset_infos.json" in names and "README.md" in names:
        found.add("dataset_infos.json")
    reasons = dict.fromkeys(found, "it describes the Hugging Face dataset in its folder")
    for started in [name for name in names if name.startswith("_started_")]:
        job = started.removeprefix("_started_")
        if f"_committed_{job}" not in names:
            left = [name for name in names if f"-tid-{job}-" in name]
            reasons |= dict.fromkeys(left, "the job of Databricks that wrote it has not ended, or has failed")
    return reasons


def is_partition(name: str) -> bool:
    """Whether a folder's name is `column=value`."""
    column, equals, _ = name.partition("=")
    return bool(column and equals)


def partitions_of(path: str, root: str) -> tuple[tuple[str, str | None], ...]:
    """Return the columns that a file's folders name: all below `root`, and those right above it."""
    if "=" not in path:
        return ()
    below = path[len(root) :].split("/")[:-1]
    above = [*takewhile(is_partition, reversed(root.rstrip("/").split("/")))][::-1]
    found: dict[str, str | None] = {}
    for name in filter(is_partition, [*above, *below]):
        column, _, value = name.partition("=")
        found[unquote(column)] = None if value == NULL_PARTITION else unquote(value)
    return tuple(found.items())
