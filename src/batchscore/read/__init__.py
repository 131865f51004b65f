"""Which files are there, and what are the rows of each?"""

from batchscore.read.columnar import rows_in_footer
from batchscore.read.files import FoundFiles, InputFile, SkippedFile, digest, find_files
from batchscore.read.open import ReadOptions, open_table

__all__ = [
    "FoundFiles",
    "InputFile",
    "ReadOptions",
    "SkippedFile",
    "digest",
    "find_files",
    "open_table",
    "rows_in_footer",
]
