"""What is there to score, and can each file be asked as wished? Answered before the first request.

It opens every file, but reads no more than its first rows. A file that cannot be read, or that lacks a
column, is a problem of that file; only when none is left is it an error of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.errors import InputError, UnreadableFile, UsageError
from batchscore.output.records.schema import RecordSchema
from batchscore.prompts.prompt import PromptBuilder, builder_for
from batchscore.prompts.spec import parse_spec, shorten_names
from batchscore.read import InputFile, ReadOptions, SkippedFile, find_files, open_table
from batchscore.rows import Table
from batchscore.settings.fields import Settings
from batchscore.settings.slices import PromptSettings, cut
from batchscore.stores.address import Place

#: Formats whose columns are the same in every row, so that one look tells them all.
FIXED_COLUMNS = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".ipc", ".txt")


@dataclass(frozen=True, slots=True)
class Ready:
    """A file that can be scored, and how its rows are asked."""

    file: InputFile
    builder: PromptBuilder


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that cannot be scored; `reason` is for a person and quotes no cell."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a run will score, and what it will not and why; `schema` is that of its records."""

    ready: tuple[Ready, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[SkippedFile, ...]
    options: ReadOptions
    schema: RecordSchema

    @property
    def places(self) -> dict[str, str]:
        """Where the files that can be scored are, by their names in records, in input order."""
        return {ready.file.name: str(ready.file.path) for ready in self.ready}


def survey(inputs: Sequence[str], settings: Settings, *, output: Place | None) -> Survey:
    """Find and try the input files.

    Raises `InputError` where nothing can be scored, `UsageError` where a template or `--keep` cannot
    be used.
    """
    spec = parse_spec(cut(PromptSettings, settings))
    options = ReadOptions(
        txt="document" if settings.txt == "document" else "lines", max_row_bytes=settings.max_row_bytes
    )
    found = find_files(inputs, output=output, root=settings.base_dir)
    ready: list[Ready] = []
    problems: list[Problem] = []
    unfit: list[Problem] = []
    headed = 0
    columns: dict[str, None] = {}
    for file in found.files:
        try:
            with opened(file, options) as table:
                ready.append(Ready(file, builder_for(table, spec)))
                columns.update(dict.fromkeys(table.columns))
                headed += bool(table.columns) and not table.headerless
        except UnreadableFile as error:
            problems.append(Problem(error.name, error.reason))
        except InputError as error:
            problems.append(Problem(file.name, error.text))
            unfit.append(problems[-1])
    # Bare texts take any column's place, so they don't show that its name is right.
    if not ready or (unfit and not headed):
        raise none_fits(unfit or problems, bare=len(ready))
    schema = schema_for(settings, tuple(columns), ready)
    return Survey(tuple(ready), tuple(problems), found.skipped, options, schema)


def none_fits(problems: Sequence[Problem], *, bare: int) -> InputError:
    """Return the error of a run of which no file can be asked as wished, but `bare` texts perhaps."""
    first = problems[0]
    more = len(problems) - 1
    others = f" Nor can {more} other file{'' if more == 1 else 's'} be scored so." if more else ""
    if bare:
        others += " The others hold bare texts, which take any column's place, so its name may be misspelt."
    return InputError(f"{first.file}: {first.reason}{others}")


class opened:  # noqa: N801 - reads as the verb it is
    """Open a file's table and close it again, read or not."""

    def __init__(self, file: InputFile, options: ReadOptions) -> None:
        self.table = open_table(file, options)

    def __enter__(self) -> Table:
        return self.table

    def __exit__(self, *_: object) -> None:
        close = getattr(self.table.rows, "close", None)
        if close is not None:
            close()


def schema_for(settings: Settings, columns: Sequence[str], ready: Sequence[Ready]) -> RecordSchema:
    """Return the columns of the records; raises `UsageError` where `--keep` cannot be had."""
    keep: tuple[str, ...] | None = settings.keep
    if settings.keep == ("*",):
        keep = everything(settings, columns, ready)
    elif "*" in settings.keep:
        raise UsageError("--keep '*' keeps every column; name no others beside it.")
    schema = RecordSchema(
        task=settings.task,
        with_id=settings.id is not None,
        keep=keep,
        many=settings.answers_per_row > 1,
        with_truncated=settings.on_long_input == "truncate",
        with_usage=settings.usage,
        with_raw=settings.raw,
    )
    for name in settings.keep:
        if columns and name != "*" and name not in columns:
            raise InputError(f"no file has a column {name!r} (--keep); there are {shorten_names(columns)}.")
    return schema


def everything(settings: Settings, columns: Sequence[str], ready: Sequence[Ready]) -> tuple[str, ...] | None:
    """Return what `--keep '*'` means: `None` where each row keeps its own columns."""
    taken = RecordSchema(settings.task).own_names
    clashing = [name for name in columns if name in taken and not (name == "id" and settings.id == "id")]
    if clashing:
        hint = " (as an id it can be carried with --id id)" if clashing == ["id"] else ""
        raise UsageError(
            f"--keep '*' would keep the column {clashing[0]!r}, a name that records use themselves{hint}. "
            "Name the columns to keep instead."
        )
    if not columnar_output(settings):
        return None
    loose = next((each.file.name for each in ready if each.file.suffix not in FIXED_COLUMNS), None)
    if loose is not None:
        raise UsageError(
            f"--keep '*' cannot go into Parquet or Arrow, because the rows of {loose} may differ in their "
            "columns. Name the columns to keep."
        )
    return tuple(name for name in columns if name not in taken)


def columnar_output(settings: Settings) -> bool:
    """Whether the records' columns must be known beforehand."""
    return settings.format != "jsonl" or settings.output.lower().endswith((".parquet", ".arrow"))
