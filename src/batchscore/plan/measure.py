"""What do the files of a survey hold, and how many requests does that take?

The rows pass the same reader, prompt builder and packer as in a run, and end there. It knows neither output
nor endpoint; `AlreadyScored` says what earlier runs left.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from math import ceil, inf
from threading import Event

from batchscore.errors import UnreadableFile
from batchscore.plan.already_scored import AlreadyScored
from batchscore.plan.extent import COLUMNAR, EVERYTHING, Budget, cut_file, part_given, shares
from batchscore.plan.figures import FileFigures, PlanTotals
from batchscore.plan.meter import Meter
from batchscore.plan.survey import ReadyFile, Survey, open_rows
from batchscore.prompts.batches import Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.token_estimate import Estimator
from batchscore.read import InputFile, rows_in_footer
from batchscore.request.deployment import FIRST_TOKENS
from batchscore.rows import Prompt, Row, Score, Settled, UnreadableRow

#: Rows between two looks at the clock.
LOOK_ROWS = 64

#: The answer that duplicates of a prompt get.
ANSWERED = Score(None)


@dataclass(slots=True)
class Measurement:
    """One measurement of all files; `stop` ends it early from another thread."""

    survey: Survey
    meter: Meter
    scored: AlreadyScored
    budget: Budget
    limit: int | None = None
    clock: Callable[[], float] = time.monotonic
    stop: Event = field(default_factory=Event)
    estimator: Estimator = field(default_factory=Estimator)
    totals: PlanTotals = field(default_factory=PlanTotals)
    ends: float = inf
    rows_left: float = inf

    def measure(self, *, most_rows: int, smooth_tokens: float, dedup: bool) -> PlanTotals:
        """Read and pack; a request holds at most `most_rows` and about `smooth_tokens`."""
        if self.budget.seconds is not None:
            self.ends = self.clock() + self.budget.seconds
        duplicates = Duplicates() if dedup else None
        packer = Packer(self.prompts(), most_rows, self.estimator, duplicates)
        latest = 0
        while True:
            # Before the first response the limit is unknown.
            first = FIRST_TOKENS if not self.totals.requests else inf
            pack = packer.take(smooth_tokens if smooth_tokens < inf else first)
            if pack.prompts:
                self.totals.middle += latest if self.totals.requests > 1 else 0
                latest = len(pack.prompts)
                self.totals.requests += 1
                self.totals.packed += latest
                self.totals.packed_bytes += pack.size
                if duplicates is not None:
                    answered = [Settled(one.file, one.row, ANSWERED) for one in pack.prompts]
                    duplicates.resolve(pack.prompts, answered)
            elif pack.ended:
                break
        self.estimate_unread()
        return self.totals

    def prompts(self) -> Iterator[Prompt | Settled]:
        """Give the prompts that are left to send, and count what is read on the way."""
        ready = self.survey.ready
        self.rows_left = inf if self.limit is None else self.limit
        budget = self.budget if self.limit is None else EVERYTHING
        for each, share in zip(ready, shares([one.file for one in ready], budget), strict=True):
            if self.rows_left <= 0:
                self.totals.limited = True
                return
            figures = FileFigures(each.file.name)
            self.totals.files.append(figures)
            if each.file.name in self.scored.finished:
                self.take_known(figures)
            elif share <= 0 or self.over:
                figures.read = 0.0
            else:
                yield from self.of_file(each, figures, share)

    @property
    def over(self) -> bool:
        """Whether reading must end."""
        return self.stop.is_set() or self.clock() >= self.ends

    def take_known(self, figures: FileFigures) -> None:
        """Take the figures of a file that is scored already from its manifest."""
        manifest = self.scored.manifests[figures.file]
        figures.rows = manifest.rows
        figures.known = manifest.rows
        self.rows_left -= manifest.rows

    def of_file(self, ready: ReadyFile, figures: FileFigures, share: float) -> Iterator[Prompt]:
        """Give the prompts of one file."""
        columnar = ready.file.suffix in COLUMNAR
        in_part = share < 1
        # If nothing ends the reading early, the file is read as the run reads it.
        file = cut_file(ready.file, share) if in_part or self.ends < inf else ready.file
        most = inf
        try:
            if columnar and (in_part or self.ends < inf):
                figures.rows_in_footer = rows_in_footer(file)
                most = inf if figures.rows_in_footer is None else ceil(figures.rows_in_footer * share)
            with open_rows(file, self.survey.options) as table:
                rows: Iterable[Row | UnreadableRow] = table.rows
                if in_part and not columnar:
                    rows = without_last(rows)  # it may have been cut
                yield from self.of_rows(rows, ready, figures, most, in_part=in_part)
        except UnreadableFile as error:
            # A file that was cut breaks off.
            if not in_part or columnar:
                figures.problem = error.reason
        self.close(figures, file, columnar=columnar)

    def of_rows(
        self,
        rows: Iterable[Row | UnreadableRow],
        ready: ReadyFile,
        figures: FileFigures,
        most: float,
        *,
        in_part: bool,
    ) -> Iterator[Prompt]:
        """Give the prompts of at most `most` rows."""
        scored, meter, estimator = self.scored, self.meter, self.estimator
        has_records = figures.file in scored.manifests and not in_part
        owed = 0.0
        for row in rows:
            if figures.rows >= most or (not figures.rows % LOOK_ROWS and self.over):
                figures.read = 0.0
                return
            if self.rows_left <= 0:
                self.totals.limited = True
                return
            self.rows_left -= 1
            figures.rows += 1
            if has_records:
                left = scored.left_of(figures.file, row.number)
                owed += left
                figures.known += 1 - left
                if owed < 1:
                    continue
                owed -= 1
            item = ready.builder.build(row)
            if not meter.take(figures, item):
                continue
            if figures.counted_bytes:
                estimator.ratio = figures.counted_tokens / figures.counted_bytes
            assert isinstance(item, Prompt)
            self.totals.taken += 1
            self.totals.taken_bytes += len(item.body)
            yield item

    def close(self, figures: FileFigures, file: InputFile, *, columnar: bool) -> None:
        """Compute which share of the file was read."""
        if columnar:
            total = figures.rows_in_footer
            figures.read = 1.0 if not total or figures.read else figures.rows / total
        else:
            given = part_given(file)
            figures.read = 1.0 if figures.read and given >= 1 else min(given, 0.999)
        if self.totals.limited or (not figures.rows and not self.over):
            figures.read = 1.0
            return
        if not figures.rows:
            figures.read = 0.0
            return
        if figures.read < 1:
            total = figures.rows_in_footer
            figures.scale = total / figures.rows if total else 1 / max(figures.read, 1e-9)
            self.without_known(figures)

    def without_known(self, figures: FileFigures) -> None:
        """Subtract the scored rows of a file that was read in part, so that its rows were not compared."""
        manifest = self.scored.manifests.get(figures.file)
        if manifest is None:
            return
        settled = manifest.final_rows(retry_errors=self.scored.retry_errors)
        left = max(0.0, 1 - settled / max(figures.all_rows, 1))
        figures.known = settled / figures.scale
        figures.prompts *= left
        figures.prompt_bytes *= left

    def estimate_unread(self) -> None:
        """Estimate the files that were not read from those that were, by size and format."""
        sizes = {ready.file.name: ready.file for ready in self.survey.ready}
        read: defaultdict[str, list[FileFigures]] = defaultdict(list)
        for figures in self.totals.files:
            if figures.read > 0 and figures.file not in self.scored.finished:
                file = sizes[figures.file]
                read[f"{file.suffix} {file.compression}"].append(figures)
        everything = [figures for group in read.values() for figures in group]
        for figures in self.totals.files:
            if figures.read > 0:
                continue
            file = sizes[figures.file]
            group = read.get(f"{file.suffix} {file.compression}") or everything
            seen = sum(sizes[one.file].size for one in group)
            if not seen:
                continue
            for name in ADDED:
                setattr(figures, name, sum(getattr(one, name) * one.scale for one in group))
            figures.rows = sum(one.all_rows for one in group)
            for one in group:
                for code, count in one.errors.items():
                    figures.errors[code] += round(count * one.scale)
            figures.scale = file.size / seen


#: The figures of a file that are sums over its rows.
ADDED = tuple(
    declared.name
    for declared in fields(FileFigures)
    if declared.name not in {"file", "read", "scale", "rows", "rows_in_footer", "problem", "errors"}
)


def without_last(rows: Iterable[Row | UnreadableRow]) -> Iterator[Row | UnreadableRow]:
    """Give all rows except the last."""
    held: Row | UnreadableRow | None = None
    for row in rows:
        if held is not None:
            yield held
        held = row
    if isinstance(held, Row):
        # A row that was cut within quotes cannot be read; any other is as good as its neighbours.
        yield held
