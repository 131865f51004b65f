"""How are the bytes of a text file decompressed, checked to be text, and cut at line ends?

This module knows no rows or formats. Memory is bounded by the block and the longest allowed line, never by
the file; nothing here seeks.
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

from batchscore.errors import UnreadableFile
from batchscore.read.input_file import UTF_8, InputFile
from batchscore.stores.errors import StoreFailure

#: Bytes of one read: enough for a network file system, small beside the largest row.
BLOCK = 256 * 1024

_ZSTD_BLOCK = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_NEWLINE = re.compile(rb"\r\n|\n|\r")

#: The first bytes of an Arrow stream.
ARROW_STREAM = b"\xff\xff\xff\xff"

UTF_16_TEXT = "UTF-16 text: convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8"

#: Texts that stand in place of a file whose content is elsewhere.
_POINTERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "a Git LFS pointer: fetch the file with git lfs pull",
    ),
    (
        re.compile(rb"(?:(?:\.\./)*\.git)?/annex/objects/"),
        "a git-annex pointer: fetch the file with git annex get",
    ),
    # Git writes a link as a file with its target on systems without links.
    (
        re.compile(rb"(?:\.\.?/)+[^\s,;|]+\Z"),
        "the target of a link: fetch the file that it names, or name that file as INPUT",
    ),
)

#: A page of a sign-in, of a store that does not have the file, or of a proxy.
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)*\s*(?:<\?xml\s|(?:<!--.*?-->\s*)*"
    rb"(?P<html><!doctype\s+html\b|<html(?:\s[^>]*)?>\s*(?:<|\Z)))",
    re.IGNORECASE | re.DOTALL,
)
_DOWNLOAD = "perhaps that of a sign-in or an error, saved in the file's place. Download the file again"

#: First bytes → what the file is, for a person. UTF-32 before UTF-16, because it starts with the same mark.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32 text: convert it to UTF-8"),
    (b"\xff\xfe", UTF_16_TEXT),
    (b"\xfe\xff", UTF_16_TEXT),
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
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it"),
    (b"\x04\x22\x4d\x18", "lz4-compressed data: decompress it first"),
    (b"\x1f\x9d", "compress-compressed data: decompress it first"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x7fELF", "a program"),
)

#: Characters that binary data has and texts in no encoding of single bytes have.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def what_it_is(what: str, compression: str | None) -> str:
    """Return what a file is instead of text; within a compression another suffix would not help."""
    if compression is None:
        return f"it is not what its name says, but {what}"
    kind, _, advice = what.partition(": ")
    if "-compressed data" in kind:
        return f"it is compressed twice, the second time as {kind}: decompress it once"
    hint = f": decompress it, then {advice}" if advice else ""
    return f"decompressed, it is not what its name says, but {kind}{hint}"


def is_tar(head: bytes) -> bool:
    """Whether these are the first bytes of a tar archive: its header holds the sum of its bytes, in octal."""
    try:
        stated = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stated == sum(head[:148]) + 8 * ord(" ") + sum(head[156:512])


def looks_like(head: bytes) -> str | None:
    """Return what a file with these first bytes is, `None` if it may be text that we read."""
    sample = head[:4096]
    if pointer := pointer_in(sample):
        return pointer
    if b"\0" not in sample and is_cut_utf8(sample):
        return None  # a text may well start with "PAR1" or "ORC"
    if is_tar(sample):
        return "a tar archive: unpack it"
    for magic, what in _MAGIC:
        if sample.startswith(magic) and (not magic.isalnum() or _CONTROL.search(sample)):
            return what
    if sample.count(0) * 3 > len(sample) > 3:  # Latin letters in UTF-16 have one zero byte each
        return UTF_16_TEXT
    return None


def pointer_in(head: bytes) -> str | None:
    """Return what a file is whose content is kept elsewhere, `None` for any other file."""
    return next((what for start, what in _POINTERS if start.match(head)), None)


def page_in(head: bytes) -> str | None:
    """Return what a file is that begins as a page of the web or as XML, `None` for any other file."""
    page = _PAGE.match(head[:4096])
    if page is None:
        return None
    return f"{'an HTML page' if page['html'] else 'an XML document'}, {_DOWNLOAD}"


def is_cut_utf8(sample: bytes, *, whole: bool = False) -> bool:
    """Whether these bytes are UTF-8, of which the last character may be cut unless they are the `whole`."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def explain_read_errors(name: str) -> Iterator[None]:
    """Turn every failure of the system or a decompressor into `UnreadableFile`."""
    try:
        yield
    except EOFError as error:
        reason = "the compressed data breaks off: copy or compress the file again"
        raise UnreadableFile(name, reason) from error
    except zlib.error as error:
        reason = "its name says gzip, but it is not, or is damaged: compress it again, or remove the .gz"
        raise UnreadableFile(name, reason) from error
    except OSError as error:
        reason = f"the system reports: {error.strerror}"
        if isinstance(error, StoreFailure):
            reason = f"{error.reason}; {error.advice}"
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


def _gunzip(file: InputFile, raw: RawIOBase) -> Iterator[bytes]:
    """Decompress all members of a gzip file. `gzip.read` would drop the data before a failure."""
    inflate = zlib.decompressobj(31)
    data, started = b"", False
    while data := data or raw.read(BLOCK):
        if not started and (what := pointer_in(data) or page_in(data)):
            raise UnreadableFile(file.name, f"it is {what}")
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
            if what := pointer_in(head) or page_in(head):
                raise UnreadableFile(file.name, f"it is {what}") from None
        with file.open() as again:
            for block in _zstd_blocks(again, sizes):
                if done <= 0:
                    yield block
                done -= len(block)


def _zstd_blocks(raw: RawIOBase, sizes: Iterable[int]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - other formats do not need it

    with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
        for size in sizes:
            if not (block := stream.read(size)):
                return
            yield block


_OPENERS: dict[str | None, Callable[[InputFile, RawIOBase], Iterator[bytes]]] = {
    None: lambda _, raw: iter(partial(raw.read, BLOCK), b""),
    "gz": _gunzip,
    "zst": _unzstd,
}


def _check_text(file: InputFile, blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = next(blocks, b"")
    if what := looks_like(head) or (page_in(head) if file.suffix != ".txt" else None):
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
    except (UnreadableFile, OSError, EOFError, zlib.error):
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
