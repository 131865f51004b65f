"""The bytes of a text file: decompressed, checked to be text, cut at line ends.

It knows nothing of rows or formats. Memory is bounded by the block and the longest line allowed,
never by the file; nothing here seeks.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from io import RawIOBase

from batchscore.errors import UnreadableFile
from batchscore.read.files import InputFile
from batchscore.stores.errors import StoreFailure

#: Bytes asked of the system at a time: large enough for a network file system, small beside a row.
BLOCK = 256 * 1024

_ZSTD_BLOCK = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_NEWLINE = re.compile(rb"\r\n|\n|\r")

#: How an Arrow stream starts.
ARROW_STREAM = b"\xff\xff\xff\xff"

_UTF16 = "UTF-16 text: convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8"

#: First bytes → what the file is, for a person. UTF-32 before UTF-16, whose mark it starts with.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32 text: convert it to UTF-8"),
    (b"\xff\xfe", _UTF16),
    (b"\xfe\xff", _UTF16),
    (b"\x1f\x8b", "gzip-compressed data: add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data: add .zst to its name"),
    (b"BZh", "bzip2-compressed data: decompress it first"),
    (b"\xfd7zXZ\x00", "xz-compressed data: decompress it first"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or save the sheet as csv"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or Office document: save the sheet as csv"),
    (b"PAR1", "a Parquet file: give it the suffix .parquet"),
    (b"ARROW1", "an Arrow file: give it the suffix .arrow"),
    (b"FEA1", "a Feather file of version 1: write it again as Parquet"),
    (ARROW_STREAM, "an Arrow stream: give it the suffix .arrow"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x7fELF", "a program"),
)


def looks_like(head: bytes) -> str | None:
    """Tell what a file that starts so is, if it is certainly no text that we read."""
    sample = head[:4096]
    if b"\0" not in sample and _is_utf8(sample):
        return None  # a text may well start with "PAR1" or "ORC"
    for magic, what in _MAGIC:
        if sample.startswith(magic):
            return what
    if sample.count(0) * 3 > len(sample) > 3:  # two letters in Latin script hold one zero byte
        return _UTF16
    return None


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.start > len(sample) - 4  # only the cut at the sample's end
    return True


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Tell every failure of the system or a decompressor inside as `UnreadableFile`."""
    try:
        yield
    except UnreadableFile:
        raise
    except EOFError as error:
        raise UnreadableFile(
            name, "the compressed data breaks off: copy or compress the file again"
        ) from error
    except zlib.error as error:
        raise UnreadableFile(
            name, "its name says gzip, but it is not, or is damaged: compress it again, or drop .gz"
        ) from error
    except StoreFailure as error:
        raise UnreadableFile(name, f"{error.reason}; {error.advice}") from error
    except PermissionError as error:
        raise UnreadableFile(name, "no permission to read it: check its owner and mode") from error
    except OSError as error:
        if error.errno is None:  # pyarrow's, of the zstd decompressor
            raise UnreadableFile(
                name, "its name says zstd, but it is not, is damaged or breaks off: compress it again"
            ) from error
        raise UnreadableFile(name, f"the system says: {error.strerror}") from error


@contextmanager
def text_blocks(file: InputFile, *, size: int = BLOCK, cap: int | None = None) -> Iterator[Iterator[bytes]]:
    """Open the decompressed bytes without a BOM, in blocks of at most `size`, at most `cap` in all.

    A failing file gives first all that can be read. Raises `UnreadableFile`, also where the first
    bytes are those of another kind of file.
    """
    with readable(file.name), file.open() as raw:
        yield _cut(_checked(file, _OPENERS[file.compression](file, raw)), min(size, BLOCK), cap)


def _plain(_: InputFile, raw: RawIOBase) -> Iterator[bytes]:
    while block := raw.read(BLOCK):
        yield block


def _gunzip(_: InputFile, raw: RawIOBase) -> Iterator[bytes]:
    """All members of a gzip file. Own code since `gzip.read` drops what precedes a failure."""
    inflate = zlib.decompressobj(31)
    data, started = b"", False
    while data := data or raw.read(BLOCK):
        started = True
        if block := inflate.decompress(data, BLOCK):
            yield block
        data = inflate.unconsumed_tail
        if inflate.eof:
            data = inflate.unused_data.lstrip(b"\0")  # tapes and some tools pad with zeros
            while not data:
                if not (data := raw.read(BLOCK)):
                    return
                data = data.lstrip(b"\0")
            inflate = zlib.decompressobj(31)
    if started:
        if block := inflate.flush():
            yield block
        if not inflate.eof:
            raise EOFError


def _unzstd(file: InputFile, raw: RawIOBase) -> Iterator[bytes]:
    """All frames of a zstd file. What pyarrow has decompressed within a failing call is lost."""
    given = 0
    try:
        for block in _zstd_blocks(raw, itertools.repeat(_ZSTD_BLOCK)):
            yield block
            given += len(block)
    except OSError as error:
        if error.errno is not None:
            raise
        # Once more, byte by byte where it failed, so that the rows before the damage stand.
        whole, part = divmod(given, _ZSTD_BLOCK)
        sizes = itertools.chain([_ZSTD_BLOCK] * whole, [part] if part else [], itertools.repeat(1))
        with file.open() as again:
            for block in _zstd_blocks(again, sizes):
                if given <= 0:
                    yield block
                given -= len(block)


def _zstd_blocks(raw: RawIOBase, sizes: Iterable[int]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - a run over other formats does without

    with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
        for size in sizes:
            if not (block := stream.read(size)):
                return
            yield block


_OPENERS: dict[str | None, Callable[[InputFile, RawIOBase], Iterator[bytes]]] = {
    None: _plain,
    "gz": _gunzip,
    "zst": _unzstd,
}


def _checked(file: InputFile, blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = next(blocks, b"")
    if what := looks_like(head):
        raise UnreadableFile(file.name, f"it is not what its name says, but {what}")
    if head := head.removeprefix(_BOM):
        yield head
    yield from blocks


def _cut(blocks: Iterator[bytes], size: int, cap: int | None) -> Iterator[bytes]:
    left = cap
    for block in blocks:
        wanted = block if left is None else block[:left]
        for start in range(0, len(wanted), size):
            yield wanted[start : start + size]
        if left is not None and (left := left - len(wanted)) == 0:
            return


class Kind(Enum):
    """What `line_blocks` gives: whole lines, or a line over the limit in pieces up to its end."""

    LINES = "lines"
    PIECE = "piece"
    LAST = "last piece, with its line end"


def line_blocks(blocks: Iterable[bytes], limit: int) -> Iterator[tuple[Kind, bytes]]:
    r"""Cut at line ends (`\n`, `\r\n`, `\r`, kept; nothing else is one), the last line may lack its own.

    Blocks must not be larger than `limit`: then only the first line of `LINES` can have come from more
    than one block, and holding at most `limit` bytes of it makes longer lines pass in pieces.
    """
    held: list[bytes] = []  # the start of a line that has not ended yet, at most `limit` bytes
    size = 0
    long = False
    for block in _unsplit(blocks):
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if not end:
            held.append(block)
            size += len(block)
            if size > limit:
                yield Kind.PIECE, b"".join(held)
                held, size, long = [], 0, True
            continue
        start = 0
        if long or size + len(block) > limit:
            first = _NEWLINE.search(block)
            assert first is not None
            if long or size + first.start() > limit:
                start = first.end()
                yield Kind.LAST, b"".join((*held, block[:start]))
                held, long = [], False
        if start < end:
            yield Kind.LINES, b"".join((*held, block[start:end]))
        held = [block[end:]] if end < len(block) else []
        size = len(block) - end
    if long:
        yield Kind.LAST, b"".join(held)
    elif held:
        yield Kind.LINES, b"".join(held)


def _unsplit(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Give the same bytes, but no block but the last ends in `\r`, whose `\n` may be the next byte."""
    waiting = b""
    for block in blocks:
        whole = waiting + block
        waiting = b"\r" if whole.endswith(b"\r") else b""
        if whole := whole[: len(whole) - len(waiting)]:
            yield whole
    if waiting:
        yield waiting
