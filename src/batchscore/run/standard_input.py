"""How does standard input become a file that a run can read more than once?

It is copied to a private temporary file, which is removed at the end of the run. Its content says which
format it has, unless a setting does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from batchscore.errors import InputError, OutputError, UnreadableFile
from batchscore.read.first_bytes import BINARY_STARTS, COMPRESSED_STARTS
from batchscore.read.formats import COMPRESSIONS
from batchscore.read.input_file import AUTO, InputFile, ReadOptions, StandardInput
from batchscore.read.text_format import suffix_of_text

#: The INPUT that means standard input.
STANDARD_INPUT = "-"


@contextmanager
def with_standard_input(
    inputs: Sequence[str], stream: BinaryIO | None, chosen: str, named: Collection[str], options: ReadOptions
) -> Iterator[Sequence[str]]:
    """Give the INPUTs, with a temporary file in place of `-`.

    `chosen` is the format, or "auto"; `named` are the columns that the settings name. Raises `InputError`,
    and `OutputError` if the temporary file cannot be written.
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
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="batchscore-stdin-"))
            copied = Path(folder) / "stdin"
            with copied.open("wb") as file:
                for block in _blocks(stream):
                    file.write(block)
        suffix = suffix_of_content(copied, chosen, named, options)
        yield [StandardInput(copied.rename(copied.with_name(f"stdin{suffix}")))]


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


def suffix_of_content(path: Path, chosen: str, named: Collection[str], options: ReadOptions) -> str:
    """Return the suffix that a file of this content should have; `chosen` names its format, or is "auto"."""
    with path.open("rb") as file:
        head = file.read(16)
    compression = next((suffix for magic, suffix in COMPRESSED_STARTS.items() if head.startswith(magic)), "")
    if chosen != AUTO:
        return f".{chosen}{compression}"
    for magic, suffix in BINARY_STARTS.items():
        if head.startswith(magic):
            return suffix
    size = path.stat().st_size
    text = InputFile(path, "standard input", ".txt", COMPRESSIONS.get(compression), size)
    try:
        return suffix_of_text(text, named, options) + compression
    except UnreadableFile as error:
        raise InputError(f"standard input cannot be read: {error.reason}.") from None
