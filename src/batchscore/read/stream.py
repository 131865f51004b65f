"""How are the bytes of a text file decompressed, checked to be text, decoded, and cut at line ends?

UTF-8, UTF-16 and UTF-32 can be recognized. Other encodings differ only in the letters that their bytes mean,
so a file in one of them is refused until its encoding is named: a guess would damage texts. This module knows
no rows or formats. Memory is bounded by the block and the longest allowed line, never by the file; nothing
here seeks.
"""

from __future__ import annotations

import codecs
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from io import RawIOBase
from typing import Any, BinaryIO

from batchscore.errors import UnreadableFile
from batchscore.read.first_bytes import (
    FIRST_OF_LETTER,
    UTF_16_TEXT,
    encoding_in_ascii,
    is_cut_utf8,
    is_surely_binary,
    is_the_same_in,
    looks_like,
    no_text_in,
    not_utf8_text,
    page_in,
    what_it_is,
)
from batchscore.read.input_file import AUTO, UTF_8, InputFile, ReadOptions
from batchscore.stores.errors import StoreFailure

#: Bytes of one read: enough for a network file system, small beside the largest row.
BLOCK = 256 * 1024

_ZSTD_BLOCK = 64 * 1024

#: Memory for the dictionary of an xz file; the highest preset of xz needs 65 MB.
_XZ_MEMORY = 128 * 2**20

_BOM = b"\xef\xbb\xbf"
_NEWLINE = re.compile(rb"\r\n|\n|\r")


@contextmanager
def explain_read_errors(name: str) -> Iterator[None]:
    """Turn every failure of the system or a decompressor into `UnreadableFile`."""
    try:
        yield
    except EOFError as error:
        reason = "the compressed data breaks off: copy or compress the file again"
        raise UnreadableFile(name, reason) from error
    except OSError as error:
        reason = f"the system reports: {error.strerror}"
        if isinstance(error, StoreFailure):
            reason = f"{error.reason}; {error.advice}"
        elif isinstance(error, FileNotFoundError):
            reason = "it is not there any more: it was moved or removed while the files were read"
        elif isinstance(error, IsADirectoryError):
            reason = "it is a folder now"
        elif isinstance(error, PermissionError):
            reason = "no permission to read it: check its owner and mode"
        elif error.errno is None:  # raised by pyarrow's zstd decompressor
            reason = "its name says zstd, but it is not, is damaged or breaks off: compress it again"
        raise UnreadableFile(name, reason) from error


@contextmanager
def raw_blocks(file: InputFile) -> Iterator[Iterator[bytes]]:
    """Give the decompressed bytes as they are. A failing file gives first all that can be read."""
    with explain_read_errors(file.name), file.open() as raw:
        yield _OPENERS[file.compression](file, raw)


@contextmanager
def text_blocks(file: InputFile, *, size: int = BLOCK, cap: int | None = None) -> Iterator[Iterator[bytes]]:
    """Give the text as UTF-8 without a BOM, in blocks of at most `size` bytes, at most `cap` in total.

    Bytes that are not valid in the file's encoding are passed on, and are not UTF-8. A failing file gives
    first all that can be read. Raises `UnreadableFile`, also if the first bytes are those of another kind of
    file.
    """
    if (known := plain_text(file)) is not None:
        yield _cut_blocks(iter((known,)), min(size, BLOCK), cap)
        return
    with raw_blocks(file) as blocks:
        text = blocks if file.encoding in {None, UTF_8} else _to_utf8(file, file.encoding, blocks)
        yield _cut_blocks(_check_text(file, text), min(size, BLOCK), cap)


def _to_utf8(file: InputFile, encoding: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    wide = encoding.startswith(("utf-16", "utf-32"))
    errors = "surrogatepass" if wide else "surrogateescape"
    decode = codecs.getincrementaldecoder(encoding)(errors).decode
    try:
        for block in blocks:
            yield decode(block).encode(errors=errors)
        yield decode(b"", final=True).encode(errors=errors)
    except UnicodeError as error:
        raise UnreadableFile(file.name, f"it is not {encoding}, or breaks off") from error


class _Inflate:
    """A decompressor of gzip that works as those of bzip2 and xz; `gzip` loses the data before a failure."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)
        self.needs_input = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inflate, name)

    def decompress(self, data: bytes, most: int) -> bytes:
        block = self._inflate.decompress(self._inflate.unconsumed_tail + data, most)
        self.needs_input = len(block) < most
        return block


def _new_stream(compression: str | None) -> Any:
    # Some builds of Python lack these modules.
    if compression == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2Decompressor()
    if compression == "xz":
        import lzma  # noqa: PLC0415

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
    return _Inflate()


def _decompress(file: InputFile, raw: RawIOBase | BinaryIO) -> Iterator[bytes]:
    """Decompress all streams of a gzip, bzip2 or xz file."""
    kind = {"gz": "gzip", "bz2": "bzip2"}.get(file.compression or "", "xz")
    stream, data = _new_stream(file.compression), raw.read(BLOCK) or b""
    if what := no_text_in(data) or page_in(data):
        raise UnreadableFile(file.name, f"it is {what}")
    while data or not stream.needs_input:
        try:
            block = stream.decompress(data, BLOCK)
        except Exception as error:  # each library has its own
            reason = f"its name says {kind}, but it is not, or is damaged: compress it again"
            if "limit" in str(error):
                reason = f"its {kind} data needs too much memory: compress it again with a lower preset"
            raise UnreadableFile(file.name, f"{reason}, or remove the .{file.compression}") from error
        if block:
            yield block
        data = b""
        if stream.eof:
            data = stream.unused_data.lstrip(b"\0")  # xz, tapes and some tools pad with zeros
            while not data:
                if not (data := raw.read(BLOCK) or b""):
                    return
                data = data.lstrip(b"\0")
            stream = _new_stream(file.compression)
        elif stream.needs_input and not (data := raw.read(BLOCK) or b""):
            raise EOFError


def _unzstd(file: InputFile, raw: RawIOBase | BinaryIO) -> Iterator[bytes]:
    """Decompress all frames of a zstd file. A failing call of pyarrow loses what it has decompressed."""
    done = 0
    try:
        for block in _zstd_blocks(raw, itertools.repeat(_ZSTD_BLOCK)):
            yield block
            done += len(block)
    except OSError as error:
        if error.errno is not None:
            raise
        # Again, byte by byte near the failure, so that the rows before the damage are kept.
        blocks, rest = divmod(done, _ZSTD_BLOCK)
        sizes = itertools.chain([_ZSTD_BLOCK] * blocks, [rest] if rest else [], itertools.repeat(1))
        with file.open() as first:
            head = first.read(4096) or b""
            if what := no_text_in(head) or page_in(head):
                raise UnreadableFile(file.name, f"it is {what}") from None
        with file.open() as again:
            for block in _zstd_blocks(again, sizes):
                if done <= 0:
                    yield block
                done -= len(block)


def _zstd_blocks(raw: RawIOBase | BinaryIO, sizes: Iterable[int]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - other formats do not need it

    with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
        for size in sizes:
            if not (block := stream.read(size)):
                return
            yield block


_OPENERS: dict[str | None, Callable[[InputFile, RawIOBase | BinaryIO], Iterator[bytes]]] = {
    None: lambda _, raw: iter(partial(raw.read, BLOCK), b""),
    "gz": _decompress,
    "zst": _unzstd,
    "bz2": _decompress,
    "xz": _decompress,
}


#: A text may well be a page, and so may a cell, of which `delimited` judges.
_MAY_BE_PAGES = {".txt", ".csv", ".tsv"}


def plain_text(file: InputFile) -> bytes | None:
    """Return the text of a file that is in memory, if it is ASCII and no other kind of file, else `None`."""
    text = file.content
    if not text or file.compression or file.encoding not in {None, UTF_8} or not text.isascii():
        return None
    other = b"\0" in text or no_text_in(text[:4096]) or (file.suffix not in _MAY_BE_PAGES and page_in(text))
    return None if other else text


def _check_text(file: InputFile, blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = next(blocks, b"")
    if what := looks_like(head) or (page_in(head) if file.suffix not in _MAY_BE_PAGES else None):
        raise UnreadableFile(file.name, what_it_is(what, file.compression))
    while head.startswith(_BOM):  # some programs write a second one
        head = head.removeprefix(_BOM)
    if head:
        yield head
    yield from blocks


def beginning(blocks: Iterator[bytes], size: int) -> tuple[bytes, bool]:
    """Return about the first `size` bytes, and whether they are all; a failure ends them early."""
    parts, whole = list[bytes](), False
    try:
        while sum(map(len, parts)) < size:
            block = next(blocks, None)
            if block is None:
                whole = True
                break
            parts.append(block)
    except (UnreadableFile, OSError, EOFError):
        if not parts:
            raise
    return b"".join(parts), whole


def without_lines(blocks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Yield the blocks without the first `count` lines."""
    for block in _join_crlf(blocks) if count else blocks:
        start = 0
        while count and (end := _NEWLINE.search(block, start)):
            start, count = end.end(), count - 1
        if not count and start < len(block):
            yield block[start:]


def _cut_blocks(blocks: Iterator[bytes], size: int, cap: int | None) -> Iterator[bytes]:
    left = cap
    for block in blocks:
        wanted = block if left is None else block[:left]
        for start in range(0, len(wanted), size):
            yield wanted[start : start + size]
        if left is not None and (left := left - len(wanted)) == 0:
            return


class BlockKind(Enum):
    """What a block of `line_blocks` is: whole lines, or a piece of a line over the limit."""

    LINES = "lines"
    PIECE = "piece"
    LAST = "last piece, with its line end"


def line_blocks(blocks: Iterable[bytes], limit: int) -> Iterator[tuple[BlockKind, bytes]]:
    r"""Cut blocks at line ends (only `\n`, `\r\n`, `\r`), which are kept; the last line may lack its own.

    Blocks must not be larger than `limit`: then only the first line of `LINES` can span several blocks. At
    most `limit` bytes of it are held, and longer lines come in pieces.
    """
    held: list[bytes] = []  # the start of a line that has not ended yet, at most `limit` bytes
    size = 0
    long = False
    for block in _join_crlf(blocks):
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if not end:
            held.append(block)
            size += len(block)
            if size > limit:
                yield BlockKind.PIECE, b"".join(held)
                held, size, long = [], 0, True
            continue
        start = 0
        if long or size + len(block) > limit:
            first = _NEWLINE.search(block)
            assert first is not None
            if long or size + first.start() > limit:
                start = first.end()
                yield BlockKind.LAST, b"".join((*held, block[:start]))
                held, long = [], False
        if start < end:
            yield BlockKind.LINES, b"".join((*held, block[start:end]))
        held = [block[end:]] if end < len(block) else []
        size = len(block) - end
    if long:
        yield BlockKind.LAST, b"".join(held)
    elif held:
        yield BlockKind.LINES, b"".join(held)


def _join_crlf(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the same bytes, but only the last block may end in `\r`: its `\n` may be the next byte."""
    waiting = b""
    for block in blocks:
        joined = waiting + block
        waiting = b"\r" if joined.endswith(b"\r") else b""
        if joined := joined[: len(joined) - len(waiting)]:
            yield joined
    if waiting:
        yield waiting


#: First bytes → encoding; UTF-32 before UTF-16, because it starts with the same mark.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: A text with this many letters that are UTF-8 is in no encoding of two bytes.
SURE_LETTERS = 16


def named_encoding(options: ReadOptions) -> str | None:
    """Return the encoding that the options name, those of Unicode by Python's name; `None` for none."""
    if options.encoding == AUTO:
        return None
    name = codecs.lookup(options.encoding).name
    return UTF_8 if name.startswith(UTF_8) else name if name.startswith("utf") else options.encoding.lower()


def with_encoding(file: InputFile, options: ReadOptions) -> InputFile:
    """Return a text file with its encoding, read from its beginning unless the options name it.

    A file that is surely UTF-8, UTF-16 or UTF-32 is read so also if the options name an encoding that is not
    of Unicode: one folder may hold files of both.

    Raises `UnreadableFile` if the beginning is in none of the encodings that can be recognized.
    """
    if file.encoding is not None:
        return file
    named = named_encoding(options)
    if named and named.startswith("utf"):
        return file.but(encoding=named)
    if file.content is not None and file.compression is None:
        head, whole = file.content, True
    else:
        with raw_blocks(file) as blocks:
            head, whole = beginning(blocks, BLOCK)
    is_plain = encoding_in_ascii(head) is None
    if not named and is_plain and head.isascii() and b"\0" not in head:  # as of most files
        return file.but(encoding=UTF_8)
    mark = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    is_utf8 = is_cut_utf8(head, whole=whole)
    if named and ((not mark and is_surely_binary(head)) or (whole and is_the_same_in(named, head))):
        return file  # reading it says what it is, or reads the same
    if named:
        letters = sum(byte >= FIRST_OF_LETTER for byte in head) if is_utf8 else 0
        # Letters of single bytes do not happen to be UTF-8; of two bytes, one in five does.
        is_surely_utf8 = letters >= SURE_LETTERS or (letters > 0 and _has_single_bytes(named))
        return file.but(encoding=mark or (UTF_8 if is_surely_utf8 else named))
    is_other = looks_like(head) not in {None, UTF_16_TEXT} or (file.suffix != ".txt" and page_in(head))
    if not mark and not is_utf8 and is_other:
        return file  # reading it says what it is
    found = mark or _wide(head[:4096]) or (UTF_8 if is_utf8 and is_plain else None)
    if found is None:
        raise UnreadableFile(file.name, not_utf8_text(head))
    return file.but(encoding=found)


def _has_single_bytes(encoding: str) -> bool:
    """Return whether each byte is a letter by itself, as in Windows-1252, and not half of one, as in GBK."""
    beginnings = bytes(range(0xC2, 0xE0))
    return len(beginnings.decode(encoding, "replace")) == len(beginnings)


def _wide(head: bytes) -> str | None:
    """Return the UTF-16 encoding of a text without a mark: Latin letters have one zero byte each."""
    if head.count(0) * 3 <= len(head) or len(head) < 4:
        return None
    name = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(name)().decode(head)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else name
