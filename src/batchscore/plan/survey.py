"""Which files can be scored with these settings? Answered before the first request.

It opens every file, but reads only its first rows. A file that cannot be read, or that lacks a column, is
left out; only if no file remains is that an error of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from batchscore.errors import InputError, UnreadableFile, UsageError, count_text, name_settings, setting_name
from batchscore.output.manifest import Manifest
from batchscore.output.records.schema import RecordSchema
from batchscore.output.spec import Output, fingerprint_of
from batchscore.output.tables.sources import TableSource
from batchscore.output.tables.write import check_table, is_table
from batchscore.prompts.columns import path_of, resolve, shorten_name, shorten_names
from batchscore.prompts.image_header import MOST_IMAGE_BYTES
from batchscore.prompts.prompt import PromptBuilder, PromptSpec, builder_for, needs_sample, parse_spec
from batchscore.prompts.schema import AnswerSchema, answer_schema
from batchscore.read.files import FollowedLink, find_files
from batchscore.read.formats import FORMATS, open_rows, suffix_of
from batchscore.read.input_file import (
    AUTO,
    MOST_KEPT_TOGETHER,
    InputFile,
    ReadOptions,
    is_standard_input,
)
from batchscore.read.missing_inputs import SkippedFile, images_together
from batchscore.read.named_files import reader_below
from batchscore.read.stream import with_encoding
from batchscore.rows import Table
from batchscore.settings.checks import DELIMITERS
from batchscore.settings.fields import Settings
from batchscore.settings.slices import PromptSettings, RecordSettings, cut
from batchscore.stores.address import Place, place_of

#: How many reasons the message of a run without a usable file has.
_MOST_REASONS = 5

#: `--keep '*'` with these columns and ids: the column is in the record's `id`.
OWN_ID = (("id", "id"), ("id", None))


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """A file that can be scored, and what makes prompts of its rows; `notes` say how it is read."""

    file: InputFile
    builder: PromptBuilder
    notes: tuple[str, ...] = ()

    def as_it_is(self) -> ReadyFile:
        """Return it without the content of another version: its digest and rows must be of the same one."""
        file = self.file.as_it_is()
        return self if file is self.file else replace(self, file=file)

    @property
    def said(self) -> tuple[str, ...]:
        """How the file is read, and which columns are sent and why, for people."""
        choice, sent = self.builder.choice, self.builder.sent
        why = f": {choice.why}" if choice is not None and choice.why else ""
        names = f"column {shorten_name(sent[0])!r}" if len(sent) == 1 else f"columns {shorten_names(sent)}"
        names = "a column" if choice is not None and choice.hidden else names
        return tuple(filter(None, (*self.notes, f"{names}{why}" if sent else "")))


@dataclass(frozen=True)
class Survey:
    """What a run will score, what not and why; `schema` is that of its records, `answers` of the answers."""

    ready: tuple[ReadyFile, ...]
    problems: tuple[SkippedFile, ...]
    skipped: tuple[SkippedFile, ...]
    options: ReadOptions
    schema: RecordSchema
    followed: tuple[FollowedLink, ...] = ()
    answers: AnswerSchema | None = None

    @cached_property
    def places(self) -> dict[str, str]:
        """The paths of the files that can be scored, by their names in records, in input order."""
        return {ready.file.name: ready.file.local or str(ready.file.path) for ready in self.ready}

    @property
    def of_several_files(self) -> bool:
        """Whether the input is more than one file, also if not all can be scored."""
        return len(self.ready) + len(self.problems) > 1

    @property
    def said(self) -> list[tuple[str, str]]:
        """The files, and how they are read, in input order."""
        # Thousands of files may be read alike.
        alike: dict[tuple[int, tuple[str, ...]], list[ReadyFile]] = {}
        for ready in self.ready:
            alike.setdefault((id(ready.builder), ready.notes), []).append(ready)
        files: dict[str, list[str]] = {}
        for group in alike.values():
            for text in group[0].said:
                files.setdefault(text, []).extend([ready.file.name for ready in group])
        return [
            (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more", text)
            for text, names in files.items()
        ]

    @property
    def suffixes(self) -> set[str]:
        """The suffixes of all input files, also of those that cannot be scored."""
        found = {suffix_of(each.name) for each in self.problems}
        return {ready.file.suffix for ready in self.ready} | {each[0] for each in found if each is not None}

    @property
    def left_out(self) -> dict[str, list[tuple[str, str]]]:
        """The files that were skipped and why, and the links that were followed and to where, for people."""
        skipped = [(each.name, each.reason) for each in self.skipped]
        return {"skipped": skipped, "link followed": [(each.name, each.target) for each in self.followed]}

    def remarks(self, word: Callable[[str], str] = str) -> dict[str, Any]:
        """Return as JSON what was skipped or followed and how files are read; `word` writes setting names."""
        return {
            "skipped": [
                {"name": each.name, "reason": name_settings(each.reason, word)} for each in self.skipped
            ],
            "links_followed": [asdict(each) for each in self.followed],
            "read_as": [{"files": name, "how": name_settings(text, word)} for name, text in self.said],
        }


def survey(inputs: Sequence[str], settings: Settings, *, output: Place | None) -> Survey:
    """Find the input files and open each once.

    Raises `InputError` if nothing can be scored, `UsageError` if a template or `--keep` cannot be used.
    """
    for_prompts = cut(PromptSettings, settings)
    spec, answers = parse_spec(for_prompts), answer_schema(for_prompts)
    options = read_options(settings)
    reserved = [name.lower() for name in RecordSchema(settings.task).own_names]
    found = find_files(inputs, output=output, root=settings.base_dir, follow_links=settings.follow_links)
    ready, problems, unfit = list[ReadyFile](), [*found.problems], list[SkippedFile]()
    headed, bare, columns, unsure = 0, 0, dict[str, None](), set[str]()
    builders: dict[Hashable, PromptBuilder] = {}
    piped, left = is_standard_input(inputs), MOST_KEPT_TOGETHER
    for listed in found.files:
        file = listed
        try:
            if FORMATS[file.suffix].is_text:
                file = with_encoding(file.with_content(left), options)
                left -= len(file.content or b"")
            read_file = None
            if settings.image:
                base = None if settings.base_dir is None else place_of(settings.base_dir)
                folder = (Path.cwd(), Path.cwd()) if piped else (file.path.parent, base or file.root)
                read_file = reader_below(*folder, MOST_IMAGE_BYTES, follow_links=settings.follow_links)
            with open_rows(file, options) as table:
                notes = (standard_input_note(file, settings, table), *table.notes) if piped else table.notes
                sort = sort_of(table, spec)
                known = builders.get(sort)
                builder = known or builder_for(table, spec, reserved, read_file=read_file)
                ready.append(ReadyFile(file.but(again=table.again), builder, notes))
                if known is not None:  # nothing of a table of this sort is new
                    continue
                if sort is not None:
                    builders[sort] = builder
                columns.update(dict.fromkeys(table.columns))
                unsure.update(table.hidden)
                columns.update({name: None for name in spec.keep if path_of(table, name) is not None})
                headed += bool(table.columns) and not table.headerless
                bare += table.headerless
        except UnreadableFile as error:
            problems.append(SkippedFile(error.name, with_hint(error.reason, file, settings, piped=piped)))
        except InputError as error:
            problems.append(SkippedFile(file.name, with_hint(error.text, file, settings, piped=piped)))
            unfit.append(problems[-1])
    # Bare texts fit any column name, so they do not show that the name is right.
    if not ready or (unfit and not headed):
        without_column = {each.name for each in unfit}
        raise no_usable_file(sorted(problems, key=lambda each: each.name not in without_column), bare=bare)
    for name in (set(spec.keep) - {"*"}).difference(columns):
        if columns and any(has_late_column(each.file, options, name) for each in ready):
            columns[name] = None
    schema = schema_for(settings, tuple(columns), ready, answers, unsure)
    skipped = images_together(found.skipped)
    return Survey(tuple(ready), tuple(problems), skipped, options, schema, found.followed, answers)


def sort_of(table: Table, spec: PromptSpec) -> Hashable:
    """Return what tables have in common that share a prompt builder; `None` if it depends on the file."""
    if table.varies or spec.image or needs_sample(table, spec):
        return None
    return table.columns, table.text_columns, table.headerless, table.repeated, table.hidden, table.doubt


def named_columns(settings: Settings) -> tuple[str, ...]:
    """Return the columns that the settings name, each once; raises `UsageError`."""
    spec = parse_spec(cut(PromptSettings, settings))
    fields = [name for name in (*spec.fields, *spec.of_system) if name != spec.text_field]
    named = [spec.column, *fields, *spec.image, spec.id, *(name for name in spec.keep if name != "*")]
    return tuple(dict.fromkeys(filter(None, named)))


def standard_input_note(file: InputFile, settings: Settings, table: Table) -> str:
    """Return which format standard input has; raises `InputError` for bare texts if settings name columns."""
    how, named = file.suffix[1:], named_columns(settings)
    if not file.size or (how in {"csv", "tsv"} and not table.columns):
        return "it is empty"
    if settings.stdin_format != AUTO:
        return f"format {how}, as {setting_name('stdin_format')} says"
    if named and table.headerless and how == "txt":
        raise InputError(
            f"it has no header with {shorten_names(named)}. If each line is a text to send, give "
            f"{setting_name('stdin_format', 'txt')}."
        )
    return f"format {how}, by its content ({setting_name('stdin_format')} names another)"


def with_hint(reason: str, file: InputFile, settings: Settings, *, piped: bool) -> str:
    """Return why a file cannot be scored; of standard input also what to do if its format was not found."""
    if not piped or settings.stdin_format != AUTO:
        return reason
    return (
        f"{reason.rstrip('.')}. Standard input was taken for {file.suffix[1:]}: if that is wrong, name its "
        f"format with {setting_name('stdin_format')}."
    )


def read_options(settings: Settings) -> ReadOptions:
    """Return how these settings read files."""
    names = [each.name for each in fields(ReadOptions) if each.name != "columns"]
    options = ReadOptions(**{name: getattr(settings, name) for name in names})
    return replace(options, delimiter=DELIMITERS.get(options.delimiter, options.delimiter))


def has_late_column(file: InputFile, options: ReadOptions, name: str) -> bool:
    """Whether rows after the first ones have a column of this name."""
    try:
        with open_rows(file, options) as table:
            resolve(table, [(name, "keep")], table.rows)
            return True
    except (InputError, UnreadableFile):
        return False


def no_usable_file(problems: Sequence[SkippedFile], *, bare: int) -> InputError:
    """Return the error of a run of which no file fits the settings, except perhaps `bare` files of texts."""
    names: dict[str, list[str]] = {}
    for each in problems:
        names.setdefault(each.reason, []).append(each.name)
    texts = [
        f"{first}{f' and {len(more):,} more' if more else ''}: {reason}"
        for reason, (first, *more) in list(names.items())[:_MOST_REASONS]
    ]
    if rest := sum(map(len, list(names.values())[_MOST_REASONS:])):
        texts.append(f"{count_text(rest, 'other file')} cannot be scored, either.")
    if bare:
        texts.append("The others hold bare texts, which fit any column name, so the name may be misspelt.")
    ended = [text if text.endswith((".", "?")) else f"{text}." for text in texts[:-1]]
    return InputError(" ".join([*ended, texts[-1]]))


def schema_for(
    settings: Settings,
    columns: Sequence[str],
    ready: Sequence[ReadyFile],
    answers: AnswerSchema | None = None,
    unsure: AbstractSet[str] = frozenset(),
) -> RecordSchema:
    """Return the columns of the records; raises an error if the `--keep` columns cannot be kept.

    Messages do not name the `unsure` columns: they may be the cells of a row.
    """
    keep: tuple[str, ...] | None = settings.keep
    if settings.keep == ("*",):
        keep = columns_to_keep(settings, columns, ready)
        refuse_collisions(columns, settings)
    elif "*" in settings.keep:
        raise UsageError(f"{setting_name('keep', '*')} keeps every column; name no others with it.")
    else:
        refuse_collisions(settings.keep, settings)
    schema = RecordSchema(
        task=settings.task,
        with_id=settings.id is not None or any(each.builder.id is not None for each in ready),
        keep=keep,
        many=settings.answers_per_row > 1,
        answer=None if answers is None else answers.document,
        with_truncated=settings.on_long_input == "truncate",
        with_usage=settings.usage,
        with_raw=settings.raw,
    )
    for name in settings.keep:
        if columns and name != "*" and name not in columns:
            sure = [each for each in columns if each not in unsure]
            there = f"; the columns are {shorten_names(sure)}." if sure else "."
            there += f" Give {setting_name('keep')} once for each column." if "," in name else ""
            raise InputError(f"no file has a column {name!r} ({setting_name('keep')}){there}")
    return schema


def refuse_collisions(names: Sequence[str], settings: Settings) -> None:
    """Raise `UsageError` for a kept column that DuckDB and Spark take for another: they ignore case."""
    own = [name for name in RecordSchema(settings.task).own_names if name != "id" or settings.id is not None]
    known = {name.lower(): name for name in own}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            whose = "the records' own field" if other in own else "the column"
            raise UsageError(
                f"{setting_name('keep')}: the column {name!r} differs from {whose} {other!r} only in case, "
                "and other programs take them for one. Rename the column, or name other columns to keep."
            )


def columns_to_keep(
    settings: Settings, columns: Sequence[str], ready: Sequence[ReadyFile]
) -> tuple[str, ...] | None:
    """Return the columns of `--keep '*'`; `None` if each row keeps its own. A column `id` is the id."""
    taken = RecordSchema(settings.task).own_names
    clashing = [name for name in columns if name in taken and (name, settings.id) not in OWN_ID]
    if clashing:
        hint = f" for the column {settings.id!r} ({setting_name('id')})" if clashing == ["id"] else ""
        raise UsageError(
            f"{setting_name('keep', '*')} would keep the column {clashing[0]!r}, a name that records use "
            f"themselves{hint}. Name the columns to keep instead."
        )
    if settings.format == "jsonl" and not settings.output.lower().endswith((".parquet", ".arrow")):
        return None
    loose = next((each.file.name for each in ready if not FORMATS[each.file.suffix].same_columns), None)
    if loose is not None:
        raise UsageError(
            f"{setting_name('keep', '*')} cannot go into Parquet or Arrow, because the rows of {loose} may "
            "differ in their columns. Name the columns to keep."
        )
    return tuple(name for name in columns if name.lower() not in taken)


def check_output(settings: Settings, surveyed: Survey, output: Output) -> None:
    """Raise `InputError` if the output is a table that cannot hold the inputs."""
    if output.file is None or not is_table(output.file):
        return
    fingerprint = fingerprint_of(cut(RecordSettings, settings), output)
    sources = [
        TableSource(each.file, surveyed.options, Manifest(each.file.name, settings.task, fingerprint))
        for each in surveyed.ready
    ]
    check_table(output.file, sources, settings.limit, name_files=surveyed.of_several_files)
