"""What would a run do with each file, as a table that fits the terminal?

Pure. It knows figures and a width, nothing of the plan as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from batchscore.plan.figures import FileFigures

#: So many files are shown one by one; of more only the largest, and those with something wrong.
MOST_SHOWN = 20
LARGEST_SHOWN = 8
WRONG_SHOWN = 8

COLUMNS = ("rows", "empty", "oversized", "unreadable", "prompt tokens")

#: Rows that are not asked, by why; a column of zeros is left out.
APART = ("empty", "oversized", "unreadable")

#: Before a file's name is made shorter than this the heads of columns take two lines; it never gets shorter
#: than the other.
LEAST_NAME = 16
SHORTEST_NAME = 8


def files_table(files: Sequence[FileFigures], width: int) -> Table:
    """Return the files and what is in each, the total last; kinds of rows that no file has are left out."""
    shown = chosen(files)
    rest = [figures for figures in files if not any(figures is one for one in shown)]
    groups = [[figures] for figures in shown] + ([rest] if rest else []) + ([files] if len(files) > 1 else [])
    columns = [name for name in COLUMNS if name not in APART or any(getattr(one, name) for one in files)]
    cells = [[cell(group, name) for name in columns] for group in groups]
    # In a narrow terminal heads take two lines and names are cut; figures never are.
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
        table.add_row(Text(shortened(figures.file, room)), *row)
    if rest:
        table.add_row(Text(f"{len(rest):,} more files", style="italic"), *cells[len(shown)])
    if len(files) > 1:
        table.add_section()
        table.add_row(Text("all files"), *cells[-1], style="bold")
    return table


def shortened(name: str, width: int) -> str:
    """Return a name that is no longer than `width`; of a long one the beginning and more of the end."""
    if cell_len(name) <= width:
        return name
    head = (width - 1) // 3
    tail = width - 1 - head
    # Characters of double width are few in names, and cost only a little room here.
    while cell_len(name[:head]) + cell_len(name[-tail:]) > width - 1:
        head, tail = max(1, head - 1), tail - 1
    return f"{name[:head]}\u2026{name[-tail:]}"


def chosen(files: Sequence[FileFigures]) -> list[FileFigures]:
    """Return the files that are shown one by one, in input order."""
    if len(files) <= MOST_SHOWN:
        return list(files)
    largest = sorted(files, key=lambda one: -(one.tokens or one.all_rows))[:LARGEST_SHOWN]
    wrong = [one for one in files if one.problem or one.oversized or one.unreadable][:WRONG_SHOWN]
    return [one for one in files if any(one is other for other in (*largest, *wrong))]


def cell(files: Sequence[FileFigures], name: str) -> str:
    """Return a figure of some files together."""
    if name == "rows":
        exact = all(figures.exact for figures in files)
        return f"{'' if exact else '~'}{sum(figures.all_rows for figures in files):,}"
    if name in APART:
        return f"{sum(getattr(one, name) for one in files):,}"
    return f"{sum(one.tokens for one in files):,.0f}"
