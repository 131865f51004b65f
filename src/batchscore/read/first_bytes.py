"""What is a file, by its first bytes?

It knows no rows. A file may be of another format than its name says, a pointer to content that is kept
elsewhere, or a web page that was saved in the file's place.
"""

from __future__ import annotations

import codecs
import re

from batchscore.errors import setting_name
from batchscore.read.json_rows import DECODER

#: The first bytes of an Arrow stream.
ARROW_STREAM = b"\xff\xff\xff\xff"

#: First bytes of the binary formats that are read → suffix.
BINARY_STARTS = {b"PAR1": ".parquet", b"ARROW1": ".arrow", ARROW_STREAM: ".arrow", b"PK\x03\x04": ".xlsx"}

#: First bytes of compressed files → suffix.
COMPRESSED_STARTS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}

UTF_16_TEXT, UTF_32_TEXT = (
    f"{name} text: convert it to UTF-8, for example with iconv -f {name} -t UTF-8"
    for name in ("UTF-16", "UTF-32")
)
_ZEROS = "binary data, or a file that was not completely written: copy or export it again"

#: Files that can be text and hold none to score: pointers to content that is elsewhere, and documents.
_NO_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/"),
        "a Git LFS pointer: fetch the file with git lfs pull",
    ),
    (re.compile(rb"# xet version \d+[\r\n]"), "a Git Xet pointer: fetch the file with git xet checkout"),
    (
        re.compile(rb"(?:(?:\.\./)*\.git)?/annex/objects/"),
        "a git-annex pointer: fetch the file with git annex get",
    ),
    # Git writes a link as a file with its target on systems without links.
    (
        re.compile(rb"\.\.?/[^\s,;|]+\Z"),
        "the target of a link: fetch the file that it names, or name that file as INPUT",
    ),
    # A whole line, or a control word: a text about such files may begin with the mark.
    (re.compile(rb"%PDF-\d\.\d[ \t]*[\r\n]"), "a PDF document: extract its text, for example with pdftotext"),
    (
        re.compile(rb"%!PS(?:-Adobe-\d\.\d[^\r\n]*)?[\r\n]"),
        "a PostScript document: extract its text, for example with ps2ascii",
    ),
    (re.compile(rb"\{\\rtf1?\s*[\\{]"), "an RTF document: save it as plain text"),
)

_NO_TEXT_STARTS = frozenset((b"v", b"#", b".", b"/", b"%", b"{"))

#: A page of a sign-in, of a store that does not have the file, or of a proxy.
_PAGE = re.compile(rb"<\?xml\s|(?P<html><!doctype\s+html\b|<html(?:\s[^>]*)?>\s*(?:<|\Z))", re.IGNORECASE)

#: The least byte that is not ASCII, and the least first byte of such a letter in UTF-8.
FIRST_NOT_ASCII, FIRST_OF_LETTER = 0x80, 0xC0

#: Words of such bytes, and bytes that mean nothing in Windows-1252, which most Western programs write.
_WORDS = re.compile(rb"[\x80-\xff]{3,}")
_NOT_WINDOWS = frozenset(b"\x81\x8d\x8f\x90\x9d")

_BLANK = b" \t\n\r\v\f\xef\xbb\xbf"

_DOWNLOAD = "perhaps that of a sign-in or an error, saved in the file's place. Download the file again"

#: First bytes → what the file is, for a person. UTF-32 before UTF-16, because it starts with the same mark.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", UTF_32_TEXT),
    (b"\xff\xfe", UTF_16_TEXT),
    (b"\xfe\xff", UTF_16_TEXT),
    (b"\x1f\x8b", "gzip-compressed data: add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data: add .zst to its name"),
    (b"BZh", "bzip2-compressed data: add .bz2 to its name"),
    (b"\xfd7zXZ\x00", "xz-compressed data: add .xz to its name"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or add .xlsx to its name"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or Office document: save the sheet as xlsx or csv"),
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
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"RIFF", "a WebP image, a sound or a video"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document: extract its text, for example with ps2ascii"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x7fELF", "a program"),
)

#: How JSON begins that holds records, and no header does.
_JSON = re.compile(r'\s*(?P<array>\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:')

#: Lines of a file that begins as a page, which may be cells.
_PAGE_LINES = 100

#: Characters of six bytes in place of four.
_HALVES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")

#: What precedes letters in the encodings of ISO 2022, whose bytes are those of ASCII; all letters of HZ.
_SHIFT_TO_LETTERS = re.compile(rb"\x1b\$(?:[@AB]|[()*+][@-Z])")
_LETTERS_OF_HZ = re.compile(rb"~\{(?:[!-w][!-~])+~\}")

#: A letter of UTF-7 at its shortest, a word of them, and a plus sign that begins none: "a+b", "C++".
_LETTER_OF_UTF_7 = re.compile(rb"\+[A-Za-z0-9/]{3}")
_WORD_OF_UTF_7 = re.compile(rb"(?<![A-Za-z0-9/])\+[A-Za-z0-9/]{8}")
_PLUS = re.compile(rb"\+(?![A-Za-z0-9/]{3}|-)")

#: The letters that words as "+API" may be in UTF-7 by chance, and base64, are of many scripts.
_ALPHABETS = re.compile("[\u00a0-\u06ff\u2010-\u20bf]{3,}")
_EAST_ASIAN = ("gb2312", "big5", "shift_jis", "euc_kr")

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
    if other := no_text_in(sample):
        return other
    if b"\0" not in sample and (sample.isascii() or is_cut_utf8(sample)):
        return None  # a text may well start with "PAR1" or "ORC"
    if is_tar(sample):
        return "a tar archive: unpack it"
    for magic, what in _MAGIC:
        if sample.startswith(magic) and (not magic.isalnum() or _CONTROL.search(sample)):
            return what
    if (
        sample.count(0) * 3 > len(sample) > 3
    ):  # Latin letters in UTF-16 have one zero byte each, in UTF-32 three
        if b"\0" * 4 in sample:
            return _ZEROS
        return UTF_32_TEXT if b"\0" * 3 in sample else UTF_16_TEXT
    return None


def no_text_in(head: bytes) -> str | None:
    """Return what a pointer to another file or a document is, `None` for any other file."""
    if head[:1] not in _NO_TEXT_STARTS:  # a file is seldom one
        return None
    return next((what for start, what in _NO_TEXTS if start.match(head)), None)


def is_surely_binary(head: bytes) -> bool:
    """Whether these are the first bytes of another kind of file whatever encoding a user names."""
    return _CONTROL.search(head[:4096]) is not None and looks_like(head) is not None


def page_in(head: bytes) -> str | None:
    """Return what a file is that begins as a page of the web or as XML, `None` for any other file."""
    text = head[:4096].lstrip(_BLANK)
    while text.startswith(b"<!--"):
        text = text.partition(b"-->")[2].lstrip(_BLANK)
    page = _PAGE.match(text)
    if page is None:
        return None
    return f"{'an HTML page' if page['html'] else 'an XML document'}, {_DOWNLOAD}"


def other_than_cells(sample: bytes, text: str, own: str) -> str | None:
    """Return what a file is that begins as JSON or a page and is not one of cells, `None` for any other."""
    if page := page_in(sample):
        lines = list(filter(None, text.splitlines()))[:_PAGE_LINES]
        counts = [{line.count(delimiter) for line in lines} for delimiter in {own, "\t", ",", ";"}]
        alike = len(lines) > 1 and any(len(count) == 1 and 0 not in count for count in counts)
        return None if alike else page
    json = _JSON.match(text)
    if json is None:
        return None
    what = f"JSON: give it the suffix {'.json' if json['array'] else '.jsonl'}"
    try:
        _, end = DECODER.raw_decode(text, len(text) - len(text.lstrip()))
    except (ValueError, RecursionError):
        return what
    # What follows an object on its line is another one, or a cell.
    rest = text[end:].split("\n", 1)[0].strip(" ,\r\x1e")
    return None if rest and rest[0] != "{" else what


def is_cut_utf8(sample: bytes, *, whole: bool = False) -> bool:
    """Whether these bytes are UTF-8, of which the last character may be cut unless they are the `whole`."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def is_the_same_in(encoding: str, head: bytes) -> bool:
    """Whether an encoding reads these bytes as ASCII does."""
    try:
        return head.isascii() and head.decode(encoding) == head.decode()
    except UnicodeError:
        return False


def encoding_in_ascii(head: bytes) -> str | None:
    """Return the encoding of a text whose letters are in ASCII, `None` if ASCII is what it is."""
    if not head.isascii():
        return None
    if shift := _SHIFT_TO_LETTERS.search(head):
        return "iso2022_kr" if shift.group().endswith(b")C") else "iso2022_jp"
    lines = head[: head.rfind(b"\n") + 1] or head  # the last one may be cut
    if _LETTERS_OF_HZ.search(lines) and _decoded(lines, "hz"):
        return "hz"
    if _LETTER_OF_UTF_7.search(lines) and not _PLUS.search(lines):
        letters = "".join([each for each in _decoded(lines, "utf-7") if not each.isascii()])
        if _ALPHABETS.fullmatch(letters) and len(set(letters)) > 1:
            return "utf-7"
        if len(letters) > 3 and _WORD_OF_UTF_7.search(lines):
            return "utf-7" if any(_encoded(letters, each) for each in _EAST_ASIAN) else None
    return None


def _encoded(text: str, encoding: str) -> bytes:
    """Return a text in an encoding, empty if that lacks a letter."""
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return b""


def _decoded(text: bytes, encoding: str) -> str:
    """Return a text in an encoding, empty if it is in another one."""
    try:
        return text.decode(encoding)
    except UnicodeDecodeError:
        return ""


def not_utf8_text(head: bytes) -> str:
    """Return what is said of a text that is not UTF-8, with an encoding that it may have as an example."""
    shifts = (_SHIFT_TO_LETTERS, _LETTERS_OF_HZ, _LETTER_OF_UTF_7)
    start = next((found.start() for shift in shifts if (found := shift.search(head))), -1)
    try:
        head.decode()
    except UnicodeDecodeError as error:
        start = error.start
    line = head.count(b"\n", 0, start) + 1
    likely, utf8 = (setting_name("encoding", each) for each in (likely_encoding(head), "utf-8"))
    if head.isascii():
        return (
            f"line {line} is not UTF-8: its letters are in ASCII (ISO 2022, HZ or UTF-7, as in old mail). "
            f"Name the file's encoding, for example {likely}, or convert it. {utf8} reads it as it is"
        )
    if _HALVES.search(head) and is_cut_utf8(_HALVES.sub(b"", head)):
        return (
            f"line {line} is not UTF-8: it has characters in halves (CESU-8, as some databases export it). "
            f"Convert the file to UTF-8. {utf8} reads the other lines"
        )
    return (
        f"line {line} is not UTF-8: name the file's encoding, for example {likely} (files that are UTF-8 are "
        f"still read as such), or convert it. If only some lines are damaged, {utf8} reads the others"
    )


def likely_encoding(head: bytes) -> str:
    """Return an encoding that these bytes may be in; in Western texts most letters are ASCII."""
    if found := encoding_in_ascii(head):
        return found
    if not _NOT_WINDOWS.isdisjoint(head):
        return "shift_jis"
    words = _WORDS.findall(head)
    letters = sum(byte >= FIRST_NOT_ASCII for byte in head)
    if sum(map(len, words)) * 2 < letters:
        return "windows-1252"
    return "windows-1251" if sum(byte >= FIRST_OF_LETTER for byte in head) > letters * 0.9 else "gbk"
