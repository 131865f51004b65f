"""How does standard input become a file that a run can read more than once?

It is copied to a private temporary file, which is removed at the end of the run. Its first bytes say which
format it has, unless a setting does.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import orjson

from batchscore.errors import InputError, OutputError, UnreadableFile
from batchscore.read.dialect import find_dialect
from batchscore.read.formats import COMPRESSIONS
from batchscore.read.input_file import AUTO, STANDARD_INPUT_FOLDER, InputFile, ReadOptions
from batchscore.read.stream import beginning, text_blocks

#: The INPUT that means standard input.
STANDARD_INPUT = "-"

#: First bytes → suffix.
_COMPRESSED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
_BINARY = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow", b"PK\x03\x04": ".xlsx"}

#: Bytes from which the format of a text is found.
_SAMPLE = 64 * 1024


@contextmanager
def with_standard_input(
    inputs: Sequence[str], stream: BinaryIO | None, chosen: str, column: str | None, options: ReadOptions
) -> Iterator[Sequence[str]]:
    """Give the INPUTs, with a temporary file in place of `-`.

    `chosen` is the format, or "auto"; a text whose first line has the `column` is a table. Raises
    `InputError`, and `OutputError` if the temporary file cannot be written.
    """
    if STANDARD_INPUT not in inputs:
        yield inputs
        return
    if len(inputs) > 1:
        raise InputError("- is standard input, which must be the only INPUT: name no other with it.")
    if stream is None:
        raise InputError("- is standard input, and that is closed: use a pipe, or < FILE.")
    if stream.isatty():
        raise InputError("- is standard input, and that is a terminal: use a pipe, or < FILE.")
    with ExitStack() as until_the_end:
        with _explain_copying():
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix=STANDARD_INPUT_FOLDER))
            copied = Path(folder) / "stdin"
            with copied.open("wb") as file:
                for block in _blocks(stream):
                    file.write(block)
        if not copied.stat().st_size:
            raise InputError("standard input is empty, so there are no rows to score.")
        suffix = suffix_of_content(copied, chosen, column, options)
        yield [str(copied.rename(copied.with_name(f"stdin{suffix}")))]


@contextmanager
def _explain_copying() -> Iterator[None]:
    """Turn the `OSError` of the temporary file into `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"standard input cannot be copied to the temporary folder: {error.strerror or error}. Set TMPDIR "
            "to a folder with enough space that you can write to, or name a file as INPUT."
        ) from error


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while block := stream.read(1 << 20):
            yield block
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}.") from error


def suffix_of_content(path: Path, chosen: str, column: str | None, options: ReadOptions) -> str:
    """Return the suffix that a file of this content should have; `chosen` names its format, or is "auto"."""
    with path.open("rb") as file:
        head = file.read(16)
    compression = next((suffix for magic, suffix in _COMPRESSED.items() if head.startswith(magic)), "")
    if chosen != AUTO:
        return f".{chosen}{compression}"
    for magic, suffix in _BINARY.items():
        if head.startswith(magic):
            return suffix
    size = path.stat().st_size
    file_of_text = InputFile(path, "standard input", ".txt", COMPRESSIONS.get(compression), size)
    try:
        with text_blocks(file_of_text, size=_SAMPLE) as blocks:
            sample, whole = beginning(blocks, _SAMPLE)
    except UnreadableFile as error:
        raise InputError(f"standard input cannot be read: {error.reason}.") from None
    text = sample.decode(options.encoding if options.encoding != AUTO else "utf-8", "replace").lstrip()
    return _text_suffix(text, column, options, whole=whole) + compression


def _text_suffix(text: str, column: str | None, options: ReadOptions, *, whole: bool) -> str:
    first = text.partition("\n")[0].rstrip("\r")
    if first.startswith(("{", "[")):
        try:
            return ".jsonl" if isinstance(orjson.loads(first), dict) else ".json"
        except ValueError:
            return ".json"
    if options.delimiter != AUTO:
        return ".csv"
    try:
        dialect = find_dialect(
            "standard input", text, options, own="\t" if "\t" in first else ",", cut=not whole
        )
    except UnreadableFile:
        return ".txt"
    lines = text.splitlines(keepends=True)[dialect.skipped :]
    reader = csv.reader(lines if whole else lines[:-1], delimiter=dialect.delimiter)
    records = [cells for cells in islice(reader, 100) if cells]
    if not records or (len(records[0]) == 1 and records[0] != [column]):
        return ".txt"
    # A prose text has commas, too, but not the same number in each line.
    same = len(records) > 1 and len({len(cells) for cells in records}) == 1
    if not same and column not in records[0]:
        return ".txt"
    return ".tsv" if dialect.delimiter == "\t" else ".csv"
