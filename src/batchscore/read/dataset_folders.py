"""What do the folders of other tools mean: Spark, Hive, Delta Lake, Hugging Face?

It knows names, not formats. Only `live_files` opens anything, by the package of the table's own format.
"""

# Paths are strings: a Path for each entry would take longer than the walk.
# ruff: noqa: PTH119, PTH120

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from itertools import takewhile
from urllib.parse import unquote

#: A folder with an entry of this name is a table whose log says which of its files count.
TABLE_MARKS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}

#: The value of a partition folder for null, as Hive and Spark write it.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

EXPORT = "or export the table's rows to Parquet and score those"
IN_A_STORE = (
    "it is a {} table, whose current files are known only on a local disk: copy the table, or export its "
    "rows to Parquet"
)


def is_marked(name: str) -> bool:
    """Whether Spark ignores a name, such as `_temporary` of a failed job; `_day=1` is a partition."""
    return name.startswith("_") and "=" not in name


def table_kind(names: Collection[str]) -> str | None:
    """Return the format of the table whose folder has these names, `None` if it is not a table."""
    return next((kind for mark, kind in TABLE_MARKS.items() if mark in names), None)


def table_above(folder: str, exists: Callable[[str], bool]) -> str | None:
    """Return the Delta table of which this is a partition's folder, `None` if it is in none."""
    while is_partition(os.path.basename(folder)):
        folder = os.path.dirname(folder)
        if exists(f"{folder}/_delta_log"):
            return folder
    return None


class Tables:
    """The tables that a walk has met, and which of their files are current."""

    def __init__(self) -> None:
        self._current: dict[str, frozenset[str]] = {}

    def open(self, folder: str, kind: str, *, on_disk: bool) -> str:
        """Find out which files of a table are current; return why that is not known, or an empty text."""
        if folder in self._current:
            return ""
        live = live_files(folder, kind) if on_disk else IN_A_STORE.format(kind)
        if isinstance(live, str):
            return live
        current = {folder}
        for path in live:
            while path not in current and is_below(path, folder):
                current.add(path)
                path = os.path.dirname(path)  # noqa: PLW2901
        self._current[folder] = frozenset(current)
        return ""

    def current_in(self, folder: str) -> frozenset[str] | None:
        """Return the paths that count in the table that holds a folder, `None` if it is in no table."""
        return next((paths for table, paths in self._current.items() if is_below(folder, table)), None)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def live_files(folder: str, kind: str) -> list[str] | str:
    """Return the paths of the files that hold a table's current rows, or why they are not known."""
    if kind != "Delta Lake":
        return f"it is a {kind} table, which batchscore does not read: export its rows to Parquet"
    try:
        from deltalake import DeltaTable  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415
    except ImportError:
        return (
            "it is a Delta Lake table, and only its log says which files hold its current rows. Install the "
            f"package deltalake to score these (pip install deltalake), {EXPORT}"
        )
    try:
        table = DeltaTable(folder)
        features = table.protocol().reader_features or []
        if "columnMapping" in features or ("deletionVectors" in features and _has_deleted_rows(table)):
            return f"it is a Delta Lake table whose files do not show its current rows: {EXPORT[3:]}"
        return [path.removeprefix("file://") for path in table.file_uris()]
    except Exception as error:  # any error of the package
        return (
            f"it is a Delta Lake table whose log cannot be read ({type(error).__name__}): repair it, {EXPORT}"
        )


def _has_deleted_rows(table: object) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    vectors = getattr(table, "deletion_vectors", None)  # older releases do not read such tables
    return vectors is None or pa.table(vectors()).num_rows > 0


def state_files(names: Collection[str], exists: Callable[[str], bool]) -> set[str]:
    """Return the files with which Hugging Face's `datasets` describes the data in a folder.

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
    return found


def is_partition(name: str) -> bool:
    """Whether a folder's name is `column=value`."""
    column, equals, _ = name.partition("=")
    return bool(column and equals)


def partitions_of(path: str, root: str) -> tuple[tuple[str, str | None], ...]:
    """Return the columns that a file's folders stand for: all below `root`, and those right above it."""
    below = path[len(root) :].split("/")[:-1]
    above = [*takewhile(is_partition, reversed(root.rstrip("/").split("/")))][::-1]
    found: dict[str, str | None] = {}
    for name in filter(is_partition, [*above, *below]):
        column, _, value = name.partition("=")
        found[unquote(column)] = None if value == NULL_PARTITION else unquote(value)
    return tuple(found.items())
