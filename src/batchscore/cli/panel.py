"""How is a run's state shown in a few lines of a terminal, of any width and height?

Pure: a view and a size in, lines out. If there are too many lines, the least important are left out. No line
is wider than the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from batchscore.errors import duration_text
from batchscore.report.progress.line import (
    costs_and_files,
    deployment_state,
    elapsed,
    eta_parts,
    failed_requests,
    is_healthy,
    request_counts,
    row_counts,
    waiting_for,
    worst_first,
)
from batchscore.report.progress.view import View
from batchscore.report.words import count_text, counts_text, percent_text, rate_text, short_name

#: Greatest width of the bar.
WIDEST_BAR = 72

#: Greatest number of deployments with a line of their own.
MOST_DEPLOYMENTS = 8

SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters in one style of rich."""

    text: str
    style: str = ""


#: A line: its importance (the least important is left out first), and its pieces.
Line = tuple[int, list[Piece]]


def panel(view: View, width: int, height: int, *, verbose: bool = False) -> list[list[Piece]]:
    """Return the lines to show: at most `height`, none with more than `width` characters."""
    lines: list[Line] = []
    if view.total:
        lines.append((3, bar(view, width)))
    lines.append((9, with_dots(counts(view), width)))
    times = [Piece(text, "bold") for text in eta_parts(view)]
    times += [Piece(text) for text in costs_and_files(view)]
    lines.append((8, with_dots([*times, Piece(elapsed(view), "dim")], width)))
    lines += speeds(view)
    lines.append((6, with_dots([Piece(text) for text in request_counts(view)], width)))
    lines += [(5, [Piece(text)]) for text in failed_requests(view)]
    lines += [(5, line) for line in deployments(view, width, height)]
    if view.pulse is not None and view.pulse.stopping:
        lines.append((10, [Piece(stopping(view), "yellow")]))
    elif verbose:
        lines.append((7, [Piece(waiting_for(view), "dim")]))
    kept = sorted(range(len(lines)), key=lambda place: -lines[place][0])[: max(1, height)]
    return [cropped(lines[place][1], width) for place in sorted(kept)]


def bar(view: View, width: int) -> list[Piece]:
    """Return the bar of done, failed and remaining rows, and the share that is done."""
    total = view.total or 1
    share = percent_text(view.rows, total)
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
    """Return the numbers of rows, the most important first."""
    first, failed, *others = row_counts(view, share=False)
    style = "red" if view.statistics.failed else ""
    return [Piece(first, "bold"), Piece(failed, style), *(Piece(text) for text in others)]


def speeds(view: View) -> list[Line]:
    """Return a line for tokens and one for requests per minute, in columns."""
    now = view.per_minute
    if now is None:
        return []
    rows = (("tokens/min", now.tokens, view.tpm, 7), ("requests/min", now.requests, view.rpm, 4))
    amounts = max(len(rate_text(amount)) for _, amount, _, _ in rows)
    limits = (
        max(len(rate_text(limit)) for _, _, limit, _ in rows if limit is not None)
        if any(limit is not None for _, _, limit, _ in rows)
        else 0
    )
    lines: list[Line] = []
    for unit, amount, limit, importance in rows:
        pieces = [Piece(f"{unit:<12} "), Piece(f"{rate_text(amount):>{amounts}}", "bold")]
        if limit is not None:
            pieces.append(Piece(f" of {rate_text(limit):>{limits}}"))
            pieces.append(Piece(f"{percent_text(amount, limit):>7}", "cyan"))
        elif limits:
            pieces.append(Piece(f"    {'':>{limits}} limit unknown", "dim"))
        lines.append((importance, pieces))
    return lines


def deployments(view: View, width: int, height: int) -> list[list[Piece]]:
    """Return a line for each deployment, if there are several or the only one is not healthy."""
    standings = worst_first(view.deployments)
    if len(standings) == 1 and is_healthy(standings[0]):
        return []
    most = max(1, min(MOST_DEPLOYMENTS, height - 7))
    shown = standings if len(standings) <= most else standings[: most - 1]
    longest = max(12, width - 52)
    names = [short_name(each.deployment, longest) for each in shown]
    column = max([len(name) for name in names], default=0)
    lines = []
    for each, name in zip(shown, names, strict=True):
        style = "green" if is_healthy(each) else "yellow" if each.state == "up" else "red"
        lines.append([Piece(f"{name:<{column}}  "), Piece(deployment_state(each), style)])
    rest = Counter(each.state for each in standings[len(shown) :])
    if rest:
        text = f"and {count_text(rest.total(), 'more deployment')}: {counts_text(rest)}"
        lines.append([Piece(text, "dim")])
    return lines


def stopping(view: View) -> str:
    """Return what a run that is stopping is still waiting for."""
    if not view.in_flight:
        return "Stopping: saving completed rows"
    assert view.pulse is not None
    oldest = duration_text(view.pulse.oldest_seconds)
    return f"Stopping: {count_text(view.in_flight, 'request')} in flight, the oldest for {oldest}"


def with_dots(pieces: Sequence[Piece], width: int) -> list[Piece]:
    """Return the pieces that fit, at least the first, with dots between them."""
    line: list[Piece] = []
    used = 0
    for piece in pieces:
        needed = len(piece.text) + (len(SEPARATOR) if line else 0)
        if line and used + needed > width:
            break
        if line:
            line.append(Piece(SEPARATOR, "dim"))
        line.append(piece)
        used += needed
    return line


def cropped(line: Sequence[Piece], width: int) -> list[Piece]:
    """Return a line that is not wider than the terminal."""
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
