"""What is a run's state as a few lines of a terminal, of any width and height?

Pure: a view and a size in, lines out. Where they are too many the least important go; none is wider than the
terminal, whatever names are in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from batchscore.report.progress.line import end_of, lost_of, others_of, rows_of, traffic_of
from batchscore.report.progress.view import View
from batchscore.report.progress.waiting import standing_of, waiting, worst_first
from batchscore.report.words import clock, counted, named, percent, rate, short

#: The bar is no longer, however wide the terminal.
WIDEST_BAR = 72

#: So many deployments have lines of their own, where there is room.
MOST_DEPLOYMENTS = 8

SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters in one style of rich's."""

    text: str
    style: str = ""


#: A line: its importance (the least important go first), and what stands in it.
Line = tuple[int, list[Piece]]


def panel(view: View, width: int, height: int, *, verbose: bool = False) -> list[list[Piece]]:
    """Return the lines to show: at most `height`, none with more than `width` characters."""
    lines: list[Line] = []
    if view.total:
        lines.append((3, bar(view, width)))
    lines.append((9, joined([counts(view)], width)))
    ending = [Piece(text, "bold") for text in end_of(view)]
    ending += [Piece(text) for text in others_of(view)]
    lines.append((8, joined([[*ending, Piece(clock(view.seconds), "dim")]], width)))
    lines += speeds(view)
    lines.append((6, joined([[Piece(text) for text in traffic_of(view)]], width)))
    lines += [(5, [Piece(text)]) for text in lost_of(view)]
    lines += [(5, line) for line in deployments(view, width, height)]
    if view.pulse is not None and view.pulse.stopping:
        lines.append((10, [Piece(draining(view), "yellow")]))
    elif verbose:
        lines.append((7, [Piece(waiting(view), "dim")]))
    kept = sorted(range(len(lines)), key=lambda place: -lines[place][0])[: max(1, height)]
    return [cropped(lines[place][1], width) for place in sorted(kept)]


def bar(view: View, width: int) -> list[Piece]:
    """Return the bar: done, failed and left, and the share that is done."""
    total = view.total or 1
    share = percent(view.rows, total)
    cells = max(1, min(width, WIDEST_BAR) - 6)
    bad = -(-view.statistics.failed * cells // total)
    through = min(cells, view.rows * cells // total)
    good = max(0, through - bad)
    return [
        Piece("█" * good, "green"),
        Piece("▓" * min(bad, cells - good), "red"),
        Piece("░" * max(0, cells - good - bad), "dim"),
        Piece(f"{share:>6}", "bold"),
    ]


def counts(view: View) -> list[Piece]:
    """Return the rows in numbers, most important first."""
    first, failed, *others = rows_of(view, share=False)
    style = "red" if view.statistics.failed else ""
    return [Piece(first, "bold"), Piece(failed, style), *(Piece(text) for text in others)]


def speeds(view: View) -> list[Line]:
    """Return a line for tokens and one for requests a minute, in columns."""
    now = view.per_minute
    if now is None:
        return []
    rows = (("tokens/min", now.tokens, view.tpm, 7), ("requests/min", now.requests, view.rpm, 4))
    amounts = max(len(rate(amount)) for _, amount, _, _ in rows)
    limits = (
        max(len(rate(limit)) for _, _, limit, _ in rows if limit is not None)
        if any(limit is not None for _, _, limit, _ in rows)
        else 0
    )
    lines: list[Line] = []
    for unit, amount, limit, importance in rows:
        pieces = [Piece(f"{unit:<12} "), Piece(f"{rate(amount):>{amounts}}", "bold")]
        if limit is not None:
            pieces.append(Piece(f" of {rate(limit):>{limits}}"))
            pieces.append(Piece(f"{percent(amount, limit):>7}", "cyan"))
        elif limits:
            pieces.append(Piece(f"    {'':>{limits}} no limit known", "dim"))
        lines.append((importance, pieces))
    return lines


def deployments(view: View, width: int, height: int) -> list[list[Piece]]:
    """Return a line for each deployment, where there are several or one is not simply up."""
    standings = worst_first(view.deployments)
    if len(standings) == 1 and standings[0].state == "up" and standings[0].paused_seconds < 1:
        return []
    most = max(1, min(MOST_DEPLOYMENTS, height - 7))
    shown = standings if len(standings) <= most else standings[: most - 1]
    longest = max(12, width - 52)
    names = [short(each.deployment, longest) for each in shown]
    column = max([len(name) for name in names], default=0)
    lines = []
    for each, name in zip(shown, names, strict=True):
        well = each.state == "up" and each.paused_seconds < 1
        style = "green" if well else "yellow" if each.state == "up" else "red"
        lines.append([Piece(f"{name:<{column}}  "), Piece(standing_of(each), style)])
    rest = Counter(each.state for each in standings[len(shown) :])
    if rest:
        text = f"and {counted(rest.total(), 'deployment')} more: {named(rest)}"
        lines.append([Piece(text, "dim")])
    return lines


def draining(view: View) -> str:
    """Return what a run that is to stop still waits for."""
    if not view.in_flight:
        return "Stopping: writing what was answered"
    assert view.pulse is not None
    return (
        f"Stopping: {counted(view.in_flight, 'request')} in flight, "
        f"the oldest for {clock(view.pulse.oldest_seconds)}"
    )


def joined(groups: Sequence[Sequence[Piece]], width: int) -> list[Piece]:
    """Return pieces with dots between them, as many as fit: the first at least."""
    line: list[Piece] = []
    used = 0
    for piece in (piece for group in groups for piece in group):
        needed = len(piece.text) + (len(SEPARATOR) if line else 0)
        if line and used + needed > width:
            break
        if line:
            line.append(Piece(SEPARATOR, "dim"))
        line.append(piece)
        used += needed
    return line


def cropped(line: Sequence[Piece], width: int) -> list[Piece]:
    """Return a line that is no wider than the terminal."""
    if sum(cell_len(piece.text) for piece in line) <= width:
        return list(line)
    kept: list[Piece] = []
    left = max(0, width - 1)
    for piece in line:
        if cell_len(piece.text) >= left:
            kept.append(Piece(set_cell_size(piece.text, left), piece.style))
            break
        kept.append(piece)
        left -= cell_len(piece.text)
    return [*kept, Piece("…", "dim")]
