"""In which encoding is a text file?

UTF-8, UTF-16 and UTF-32 can be recognized. Other encodings differ only in the letters that their bytes mean,
so a file in one of them is refused until its encoding is named: a guess would damage texts.
"""

from __future__ import annotations

import codecs
from dataclasses import replace

from batchscore.errors import UnreadableFile, setting_name
from batchscore.read.first_bytes import UTF_16_TEXT, is_cut_utf8, looks_like, page_in
from batchscore.read.input_file import UTF_8, InputFile
from batchscore.read.options import AUTO, ReadOptions
from batchscore.read.stream import BLOCK, beginning, raw_blocks

#: First bytes → encoding; UTF-32 before UTF-16, because it starts with the same mark.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Bytes that mean nothing in Windows-1252, the usual encoding of Western Windows programs.
_NOT_WINDOWS = frozenset(b"\x81\x8d\x8f\x90\x9d")


def with_encoding(file: InputFile, options: ReadOptions) -> InputFile:
    """Return a text file with its encoding, read from its beginning unless the options name it.

    Raises `UnreadableFile` if the beginning is in none of the encodings that can be recognized.
    """
    if file.encoding is not None:
        return file
    if options.encoding != AUTO:
        name = codecs.lookup(options.encoding).name
        name = (
            UTF_8 if name.startswith(UTF_8) else name if name.startswith("utf") else options.encoding.lower()
        )
        return replace(file, encoding=name)
    with raw_blocks(file) as blocks:
        head, whole = beginning(blocks, BLOCK)
    mark = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if mark is not None:
        return replace(file, encoding=mark)
    if is_cut_utf8(head, whole=whole):
        wide = _wide(head[:4096])
        return replace(file, encoding=wide or UTF_8)
    if looks_like(head) not in {None, UTF_16_TEXT} or (file.suffix != ".txt" and page_in(head)):
        return file  # reading it says what it is
    wide = _wide(head[:4096])
    if wide is not None:
        return replace(file, encoding=wide)
    raise UnreadableFile(file.name, _finding(head))


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


def _finding(head: bytes) -> str:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        line = head.count(b"\n", 0, error.start) + 1
    example = "windows-1252" if _NOT_WINDOWS.isdisjoint(head) else "shift_jis"
    option = setting_name("encoding")
    return (
        f"line {line} is not UTF-8: name the file's encoding, for example {option} {example}, or convert it. "
        f"If only some lines are damaged, {option} {UTF_8} scores the others"
    )
