"""What would a run do with each file? A table that fits the terminal.

Pure: figures and a width in, a table out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from batchscore.plan.figures import FileFigures
from batchscore.report.words import short_name

#: Up to this many files are all listed; of more, only the largest and those with problems.
MOST_SHOWN = 20
LARGEST_SHOWN = 8
WRONG_SHOWN = 8

COLUMNS = ("rows", "empty", "oversized", "unreadable", "prompt tokens")

#: Reasons why rows are not scored; a column of zeros is left out.
NOT_SCORED = ("empty", "oversized", "unreadable")

#: Column heads take two lines before a file's name is cut to fewer characters than the first; names keep at
#: least the second.
LEAST_NAME = 16
SHORTEST_NAME = 8


def files_table(files: Sequence[FileFigures], width: int) -> Table:
    """Return the files with their figures and the total; reasons that no row has are left out."""
    shown = files_to_list(files)
    rest = [figures for figures in files if not any(figures is one for one in shown)]
    groups = [[figures] for figures in shown] + ([rest] if rest else []) + ([files] if len(files) > 1 else [])
    columns = [name for name in COLUMNS if name not in NOT_SCORED or any(getattr(one, name) for one in files)]
    cells = [[cell(group, name) for name in columns] for group in groups]
    # In a narrow terminal heads take two lines and names are cut, but never figures.
    least = [max(map(len, (*name.split(), *figures))) for name, *figures in zip(columns, *cells, strict=True)]
    whole = [max(len(name), narrow) for name, narrow in zip(columns, least, strict=True)]
    longest = min(LEAST_NAME, max((cell_len(figures.file) for figures in shown), default=0))
    widths = whole if sum(whole) + 3 * len(whole) + longest <= width else least
    room = max(SHORTEST_NAME, width - sum(widths) - 3 * len(widths))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("file", no_wrap=True)
    for name, figures_width in zip(columns, widths, strict=True):
        table.add_column(name, justify="right", min_width=figures_width, max_width=figures_width)
    for figures, row in zip(shown, cells, strict=False):
        table.add_row(Text(short_name(figures.file, room)), *row)
    if rest:
        table.add_row(Text(f"{len(rest):,} more files", style="italic"), *cells[len(shown)])
    if len(files) > 1:
        table.add_section()
        table.add_row(Text("all files"), *cells[-1], style="bold")
    return table


def files_to_list(files: Sequence[FileFigures]) -> list[FileFigures]:
    """Return the files that the table lists, in input order."""
    if len(files) <= MOST_SHOWN:
        return list(files)
    largest = sorted(files, key=lambda one: -(one.tokens or one.all_rows))[:LARGEST_SHOWN]
    wrong = [one for one in files if one.problem or one.oversized or one.unreadable][:WRONG_SHOWN]
    return [one for one in files if any(one is other for other in (*largest, *wrong))]


def cell(files: Sequence[FileFigures], name: str) -> str:
    """Return the total of a figure over files."""
    if name == "rows":
        exact = all(figures.exact for figures in files)
        return f"{'' if exact else '~'}{sum(figures.all_rows for figures in files):,}"
    if name in NOT_SCORED:
        return f"{sum(one.total(name) for one in files):,}"
    return f"{sum(one.tokens for one in files):,.0f}"
