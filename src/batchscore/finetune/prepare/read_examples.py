"""Which examples do the rows of the input files give, and which rows give none?

One pass: each example is written to a spool as it will be in its file, and only numbers stay in memory. A row
that gives no example is a problem of its file and row; no message quotes a cell.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from batchscore.errors import InputError, UnreadableFile
from batchscore.finetune.examples.example import ExampleTokens, broken_rules, measure
from batchscore.finetune.examples.facts import ExampleFacts
from batchscore.finetune.examples.kinds import CHAT_FORMAT, REINFORCEMENT_FORMAT
from batchscore.finetune.examples.rules import RULES, BrokenRule, ServiceRules
from batchscore.finetune.prepare.convert import Convert, NoExample, converter
from batchscore.finetune.prepare.mapping import Mapped, find_fields
from batchscore.finetune.prepare.split import NO_VALUE
from batchscore.finetune.prepare.spool import ExampleSpool
from batchscore.prompts.cells import UnreadableCellError, cell_text, json_bytes
from batchscore.prompts.columns import first_rows, resolve
from batchscore.prompts.image_header import MOST_IMAGE_BYTES
from batchscore.prompts.images import ImageColumns
from batchscore.read.files import find_files
from batchscore.read.formats import FORMATS, open_rows
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.named_files import reader_below
from batchscore.read.stream import beginning, raw_blocks
from batchscore.rows import Row, Table, UnreadableRow
from batchscore.stores.address import Place
from batchscore.task import CHAT

#: The part of an example that the split chooses.
FREE = -1

#: Problems that are kept with their rows; all are counted.
MOST_PROBLEMS = 10_000


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that gives no example, or a file whose `row` is `None`. `rule` is one of `RULES`, or our own.

    `sheet_row` is where people find the row in a spreadsheet, from 1; `None` if the file is none.
    """

    file: str
    row: int | None
    rule: str
    text: str
    sheet_row: int | None = None

    @property
    def place(self) -> str:
        """The file and the row, for people."""
        return self.file if self.row is None else row_place(self.file, self.row, self.sheet_row)


def row_place(file: str, row: int, sheet_row: int | None) -> str:
    """Return the place of a row, for people."""
    if sheet_row is not None:
        return f"{file} row {row:,} (row {sheet_row:,} of the sheet)"
    return f"{file} row {row:,}, from 0"


@dataclass(frozen=True, slots=True)
class ReadExample:
    """How rows are read and become examples. `group` and `stratify` are columns."""

    said: Mapped
    options: ReadOptions
    service: ServiceRules
    counter: ExampleTokens
    most_tokens: int
    model: str
    group: str | None = None
    stratify: str | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file: its rows, its examples, how it was read, and where people find its rows."""

    name: str
    rows: int
    examples: int
    notes: tuple[str, ...]
    sheet_row: Callable[[int], int | None] | None = None


@dataclass(slots=True)
class ExamplesRead:
    """All examples of the input: their facts, the bytes of each in the spool, and what else was found.

    `fixed` is the part of each that the user chose, or `FREE`. `system` is the first system message;
    `systems` is how many there are, at most 2: all others.
    """

    facts: ExampleFacts
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    fixed: array[int] = field(default_factory=lambda: array("b"))
    groups: array[int] = field(default_factory=lambda: array("Q"))
    strata: array[int] = field(default_factory=lambda: array("Q"))
    files: list[SourceFile] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    invalid: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    mapped: Mapped | None = None
    keys: frozenset[str] | None = None
    system: str | None = None
    systems: int = 0

    def place_of(self, example: int) -> str:
        """Return the file and the row of an example, for people."""
        row, left = self.facts.lines[example], example
        for file in self.files:
            if left < file.examples:
                break
            left -= file.examples
        return row_place(file.name, row, file.sheet_row(row) if file.sheet_row else None)

    def add_problem(self, problem: RowProblem) -> None:
        """Count a row without an example, and keep why if there are not too many."""
        self.invalid += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def read_examples(
    inputs: Mapping[int, Sequence[str]], folder: Place, how: ReadExample, spool: ExampleSpool
) -> ExamplesRead:
    """Read all rows, and write each example as a line to the spool; raises `InputError`.

    `inputs` are those of each part that the user chose, under its number, and `FREE` for all others.
    """
    read = ExamplesRead(ExampleFacts(how.counter, how.said.kind, how.most_tokens))
    for part, named in inputs.items():
        found = find_files(named, output=folder)
        for each in found.problems:
            read.add_problem(RowProblem(each.name, None, "unreadable", each.reason))
        reasons = [reason for file in found.files for reason in _try_file(file, how, read, spool)]
        if not read.files and len({*reasons}) == 1:
            raise InputError(reasons[0])
        read.fixed.extend([part] * (len(read.sizes) - len(read.fixed)))
    return read


def _try_file(file: InputFile, how: ReadExample, read: ExamplesRead, spool: ExampleSpool) -> Iterator[str]:
    """Read one file, or note and yield why not."""
    try:
        _read_file(file, how, read, spool)
    except UnreadableFile as error:
        read.add_problem(RowProblem(file.name, None, "unreadable", error.reason))
        yield f"{file.name}: {error.reason}"
    except InputError as error:
        read.add_problem(RowProblem(file.name, None, "columns", error.text))
        yield error.text


def _read_file(file: InputFile, how: ReadExample, read: ExamplesRead, spool: ExampleSpool) -> None:
    before = len(read.sizes)
    rows = 0
    with open_rows(file, how.options) as table:
        sample, source = first_rows(table, whole=False)
        chosen = find_fields(how.said, table, sample)
        read.mapped = read.mapped or chosen
        convert = converter(chosen, table, _images(how, file, table), read.warnings)
        columns = [_digest_of(table, name) for name in (how.group, how.stratify)]
        notes = (*_mark(file), *table.notes, *([chosen.marks.note] if chosen.marks else []))
        try:
            for row in source:
                rows += 1
                _read_row(row, convert, columns, how, read, spool, table.sheet_row)
        finally:
            read.files.append(SourceFile(file.name, rows, len(read.sizes) - before, notes, table.sheet_row))


def _mark(file: InputFile) -> tuple[str, ...]:
    """Return a note if the file begins with the mark of UTF-8; readers say what else they found."""
    if not FORMATS[file.suffix].is_text:
        return ()
    with raw_blocks(file) as blocks:
        head, _ = beginning(blocks, 3)
    return ("UTF-8 with a byte order mark",) if head.startswith(b"\xef\xbb\xbf") else ()


def _images(how: ReadExample, file: InputFile, table: Table) -> ImageColumns | None:
    names = how.said.images
    if not names:
        return None
    paths = resolve(table, [(name, "image") for name in names], ())
    reader = reader_below(file.path.parent, file.root, MOST_IMAGE_BYTES, follow_links=False)
    own = tuple(paths.get(name, name) for name in names)
    return ImageColumns(own, CHAT, how.model, how.said.image_detail, reader)


def _digest_of(table: Table, name: str | None) -> Callable[[Mapping[str, Any]], int] | None:
    """Return what gives the digest of a column's cell, or `NoExample`; raises `InputError` for no column."""
    if name is None:
        return None
    path = resolve(table, [(name, "column")], ()).get(name, name)

    def digest(values: Mapping[str, Any]) -> int:
        try:
            text = cell_text(values.get(path))
        except UnreadableCellError as reason:
            raise NoExample(f"the column {name!r} holds {reason}") from None
        except RecursionError:
            raise NoExample(f"the column {name!r} is nested too deeply") from None
        return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) if text.strip() else NO_VALUE

    return digest


def _read_row(
    row: Row | UnreadableRow,
    convert: Convert,
    columns: Sequence[Callable[[Mapping[str, Any]], int] | None],
    how: ReadExample,
    read: ExamplesRead,
    spool: ExampleSpool,
    sheet_row: Callable[[int], int | None] | None,
) -> None:
    """Turn one row into an example, or note why it is none."""

    def note(rule: str, text: str) -> None:
        place = sheet_row(row.number) if sheet_row else None
        read.add_problem(RowProblem(row.file, row.number, rule, text, place))

    if isinstance(row, UnreadableRow):
        note(row.error.code.value, row.error.message.rstrip("."))
        return
    try:
        example = convert(row.values)
        marks = [None if column is None else column(row.values) for column in columns]
    except NoExample as error:
        note("no_example", str(error))
        return
    facts = read.facts
    kind = facts.kind
    found = broken_rules(example, kind, how.service, row.number)
    if found and _has_errors(found, read, note):
        return
    keys = example.keys()
    if read.keys is None:
        read.keys = frozenset(keys)
    elif kind.hosted and kind is not REINFORCEMENT_FORMAT and keys != read.keys:
        other = ", ".join(sorted(keys ^ read.keys))
        note("keys_differ", f"the first examples differ in {other}; all must have the same keys")
        return
    line = json_bytes(example)
    tokens = facts.tokens_of(example, len(line))
    if how.most_tokens and max(tokens) > how.most_tokens and kind.hosted:
        limit = f"{how.most_tokens:,} is the limit"
        note("too_long", f"about {max(tokens):,.0f} tokens, and {limit}: its end would be cut off")
        return
    facts.add(row.number, measure(example, kind), tokens)
    if kind is CHAT_FORMAT:
        _note_system(example["messages"][0], read)
    for mark, digests in zip(marks, (read.groups, read.strata), strict=True):
        if mark is not None:
            digests.append(mark)
    read.sizes.append(len(line) + 1)
    spool.write(line + b"\n")


def _has_errors(found: Sequence[BrokenRule], read: ExamplesRead, note: Callable[[str, str], None]) -> bool:
    errors = [each for each in found if each.is_error]
    for each in found:
        if not each.is_error:
            read.warnings[each.rule] += 1
    if errors:
        first, more = errors[0], len(errors) - 1
        where = [f"message {first.message}"] if first.message else []
        where += [first.key] if first.key else []
        text = f"{', '.join(where)}: {first.text}" if where else first.text
        note(first.rule, text + (f" (and {more} more)" if more else ""))
    return bool(errors)


def _note_system(first: Mapping[str, Any], read: ExamplesRead) -> None:
    """Note the system message of an example, and whether all are the same."""
    system = first["content"] if first["role"] in {"system", "developer"} else None
    if not read.systems:
        read.system, read.systems = system, 1
    elif system != read.system:
        read.systems = 2


def rule_text(rule: str) -> str:
    """Return what a service says to a broken rule, without its place; empty if it sees no such row."""
    words = RULES[rule].service if rule in RULES else ""
    sentences = (re.sub(r", [^.]*{.*?}[^.]*$", "", each) for each in words.split(". "))
    return ". ".join(each for each in sentences if "{" not in each)
