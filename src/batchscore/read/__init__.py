"""From files to rows: which files there are, and the rows of each."""

from batchscore.read.columnar import rows_in_footer
from batchscore.read.files import Found, InputFile, SkippedFile, digest, find_files
from batchscore.read.open import ReadOptions, open_table

__all__ = [
    "Found",
    "InputFile",
    "ReadOptions",
    "SkippedFile",
    "digest",
    "find_files",
    "open_table",
    "rows_in_footer",
]
