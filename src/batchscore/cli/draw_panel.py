"""How is a run's state shown in a few lines of a terminal, of any width and height, and redrawn in place?

`report.progress.view` has the figures, `line` there words them. If there are too many lines, the least
important are left out. No line is wider than the terminal. Each drawing is one write and starts where the
last one started. The cursor is never hidden, so a killed process leaves the terminal as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from batchscore.errors import count_text, duration_text
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
from batchscore.report.words import counts_text, percent_text, rate_text, short_name

#: Greatest width of the bar.
WIDEST_BAR = 72

#: Greatest number of deployments with a line of their own.
MOST_DEPLOYMENTS = 8

SEPARATOR = " · "

#: Replacements for a terminal without Unicode.
PLAIN = str.maketrans({"·": "|", "█": "#", "▓": "x", "░": "-", "…": "~"})

#: Go to the start of the line; clear the line; clear all from the cursor on.
HOME, CLEAR_LINE, CLEAR_BELOW = "\r", "\x1b[2K", "\x1b[J"


#: A line, and its importance: the least important is left out first.
Line = tuple[int, Text]


def panel(view: View, width: int, height: int, *, verbose: bool = False) -> list[Text]:
    """Return the lines to show: at most `height`, none with more than `width` characters."""
    first, failed, *others = row_counts(view, share=False)
    counts = [Text(first, "bold"), Text(failed, "red" if view.statistics.failed else ""), *map(Text, others)]
    times = [Text(eta, "bold") for eta in eta_parts(view)]
    times += [*map(Text, costs_and_files(view)), Text(elapsed(view), "dim")]
    lines: list[Line] = [
        *([(3, bar(view, width))] if view.total else []),
        (9, with_dots(counts, width)),
        (8, with_dots(times, width)),
        *speeds(view),
        (6, with_dots([*map(Text, request_counts(view))], width)),
        *((5, Text(each)) for each in failed_requests(view)),
        *((5, line) for line in deployments(view, width, height)),
    ]
    if view.pulse is not None and view.pulse.stopping:
        lines.append((10, Text(stopping(view), "yellow")))
    elif verbose:
        lines.append((7, Text(waiting_for(view), "dim")))
    kept = sorted(range(len(lines)), key=lambda place: -lines[place][0])[: max(1, height)]
    shown = [lines[place][1] for place in sorted(kept)]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return shown


def bar(view: View, width: int) -> Text:
    """Return the bar of done, failed and remaining rows, and the share that is done."""
    total = view.total or 1
    cells = max(1, min(width, WIDEST_BAR) - 6)
    bad = -(-view.statistics.failed * cells // total)
    good = max(0, min(cells, view.rows * cells // total) - bad)
    return Text.assemble(
        ("█" * good, "green"),
        ("▓" * min(bad, cells - good), "red"),
        ("░" * max(0, cells - good - bad), "dim"),
        (f"{percent_text(view.rows, total):>6}", "bold"),
    )


def speeds(view: View) -> list[Line]:
    """Return a line for tokens and one for requests per minute, in columns."""
    now = view.per_minute
    if now is None or view.batches is not None:
        return []
    rows = (("tokens/min", now.tokens, view.tpm, 7), ("requests/min", now.requests, view.rpm, 4))
    amounts = max(len(rate_text(amount)) for _, amount, _, _ in rows)
    limits = max(0 if limit is None else len(rate_text(limit)) for _, _, limit, _ in rows)
    lines: list[Line] = []
    for unit, amount, limit, importance in rows:
        line = Text.assemble(f"{unit:<12} ", (f"{rate_text(amount):>{amounts}}", "bold"))
        if limit is not None:
            line.append(f" of {rate_text(limit):>{limits}}")
            line.append(f"{percent_text(amount, limit):>7}", "cyan")
        elif limits:
            line.append(f"    {'':>{limits}} limit unknown", "dim")
        lines.append((importance, line))
    return lines


def deployments(view: View, width: int, height: int) -> list[Text]:
    """Return a line for each deployment, if there are several or the only one is not healthy."""
    states = worst_first(view.deployments)
    if len(states) == 1 and is_healthy(states[0]):
        return []
    most = max(1, min(MOST_DEPLOYMENTS, height - 7))
    shown = states if len(states) <= most else states[: most - 1]
    names = [short_name(each.deployment, max(12, width - 52)) for each in shown]
    column = max(map(len, names), default=0)
    lines = []
    for each, name in zip(shown, names, strict=True):
        style = "green" if is_healthy(each) else "yellow" if each.state == "up" else "red"
        lines.append(Text.assemble(f"{name:<{column}}  ", (deployment_state(each), style)))
    rest = Counter(each.state for each in states[len(shown) :])
    if rest:
        text = f"and {count_text(rest.total(), 'more deployment')}: {counts_text(rest)}"
        lines.append(Text(text, "dim"))
    return lines


def stopping(view: View) -> str:
    """Return what a run that is stopping is still waiting for."""
    if view.batches is not None and view.batches.running:
        return "Stopping: batches that are submitted keep running"
    if not view.in_flight or view.pulse is None:
        return "Stopping: saving completed rows"
    oldest = duration_text(view.pulse.oldest_seconds)
    return f"Stopping: {count_text(view.in_flight, 'request')} in flight, the oldest for {oldest}"


def with_dots(pieces: Sequence[Text], width: int) -> Text:
    """Return the pieces that fit, at least the first, with dots between them."""
    line = pieces[0].copy()
    for piece in pieces[1:]:
        if line.cell_len + len(SEPARATOR) + piece.cell_len > width:
            break
        line = Text.assemble(line, (SEPARATOR, "dim"), piece)
    return line


@dataclass(slots=True)
class Canvas:
    """The last lines of a terminal; without `widths`, the next drawing starts below what is there."""

    console: Console
    widths: list[int] = field(default_factory=list)

    def draw_view(self, view: View, *, above: Sequence[str], verbose: bool) -> None:
        """Replace the last drawing with that of a run's state. Raises `OSError`."""
        width, height = self.console.size
        self.draw(panel(view, width - 1, height - 1, verbose=verbose), width, above=above)

    def draw(self, lines: Sequence[Text], width: int, *, above: Sequence[str] = ()) -> None:
        """Replace the last drawing with these lines, below any text that stays. Raises `OSError`."""
        # A terminal that has become narrower has wrapped its lines.
        up = sum(max(1, -(-each // max(width, 1))) for each in self.widths)
        start = f"{HOME}\x1b[{up}A" if up else HOME
        with self.console.capture() as styled:
            self.console.print(*lines, sep="\n", soft_wrap=True)
        below = styled.get().split("\n")[: len(lines)]
        # Cleared first: cells cleared after the text would wrap when the terminal gets narrower.
        drawn = "".join(f"{CLEAR_LINE}{line}\r\n" for line in (*above, *below))
        if not self.console.encoding.lower().startswith("utf"):
            drawn = drawn.translate(PLAIN)
        self.widths = [line.cell_len for line in lines]
        self.console.file.write(f"{start}{drawn}{CLEAR_BELOW}")
        self.console.file.flush()
