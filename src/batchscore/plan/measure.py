"""What do the files of a survey hold, and how many requests and tokens does that take?

The rows pass the same reader, prompt builder and packer as in a run, and end there. It knows neither output
nor endpoint; `AlreadyScored` says what earlier runs left.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from math import ceil, inf
from threading import Event

import orjson

from batchscore.errors import ErrorCode, UnreadableFile
from batchscore.plan.already_scored import AlreadyScored
from batchscore.plan.estimates import most_input_tokens, rate_limits_of
from batchscore.plan.extent import EVERYTHING, Budget, cut_file, part_given, shares
from batchscore.plan.figures import FileFigures, PlanTotals
from batchscore.plan.survey import ReadyFile, Survey
from batchscore.plan.vocabulary import (
    NOT_TEXT,
    TokenCounter,
    parameter_tokens,
    prompt_tokens,
    token_counter_for,
)
from batchscore.prompts.batches import Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.kept_cells import unpacked
from batchscore.prompts.token_estimate import LEAST_TOKENS_PER_BYTE, Estimator
from batchscore.read.formats import FORMATS, open_rows, stated_rows
from batchscore.read.input_file import InputFile
from batchscore.request.quota.windows import FIRST_TOKENS, SMOOTHING_SECONDS
from batchscore.rows import Prompt, Row, RowError, Score, Settled, UnreadableRow
from batchscore.settings.fields import Settings
from batchscore.simulator.words import count_tokens
from batchscore.task import TASKS

#: How the simulator counts; a rehearsal gets the simulator's usage.
SIMULATED = TokenCounter("as the simulator counts", "exact for what it answers", "simulator", count_tokens)

#: Rows between two looks at the clock.
LOOK_ROWS = 64

#: After the first bytes of a file one part in 16 is counted.
COUNTED_PART = 16

#: The counts of rows without a prompt, by error code; all others are unreadable.
COUNTED_APART = {ErrorCode.EMPTY_INPUT: "empty", ErrorCode.ROW_TOO_LARGE: "row_too_large"}

#: The answer that duplicates of a prompt get.
ANSWERED = Score(None)


class Measurement:
    """One measurement of all files; `stop` ends it early from another thread.

    Counting tokens is expensive. So after the first bytes of a file only one part in 16 is counted, evenly
    over the rest; the tokens per byte of these parts are used for all.
    """

    def __init__(
        self,
        settings: Settings,
        survey: Survey,
        scored: AlreadyScored,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.survey = survey
        self.scored = scored
        self.clock = clock
        self.task = TASKS[settings.task]
        self.counter = SIMULATED if settings.simulate else token_counter_for(settings.model, self.task)
        carried = dict(settings.param)
        if survey.answers is not None:
            carried[self.task.format_key] = survey.answers.document
        self.extra_tokens = (
            parameter_tokens(carried, self.task, self.counter.count) if self.task.takes_messages else 0.0
        )
        self.answer_tokens = (settings.answer_tokens or 0.0) * settings.answers_per_row
        self.most_tokens = most_input_tokens(settings)
        self.rates = [each.tpm for each in rate_limits_of(settings)]
        quotas = [rate / settings.quota_share for rate in self.rates if rate is not None]
        #: The largest minute's quota of a whole deployment, if all of them have one.
        self.quota_tokens = max(quotas) if len(quotas) == len(self.rates) else None
        self.budget = budget
        self.rows_left = inf if settings.limit is None else settings.limit
        self.ends = inf
        self.images_end = inf
        #: Rows whose images were read, and the tokens of these images.
        self.with_images, self.image_tokens = 0, 0
        self.stop = Event()
        self.estimator = Estimator()
        self.totals = PlanTotals()

    def measure(self) -> PlanTotals:
        """Read all files, and pack their prompts into requests as the engine does."""
        self.ends = self.clock() + self.budget.seconds
        self.images_end = self.clock() + self.budget.image_seconds
        rates = [tpm / 60 for tpm in self.rates if tpm is not None]
        # Each of several deployments has its own size of request; the larger ones take more of the work.
        smooth = sum(rate * rate for rate in rates) / sum(rates) * SMOOTHING_SECONDS if rates else inf
        most_rows = self.settings.batch_size if self.task.packs_many else 1
        duplicates = Duplicates() if self.settings.dedup else None
        packer = Packer(self.prompts(), most_rows, self.estimator, duplicates)
        latest = 0
        while True:
            # Before the first response the limit is unknown.
            first = FIRST_TOKENS if not self.totals.requests else inf
            pack = packer.take(max(1.0, smooth) if rates else first)
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
        budget = self.budget if self.settings.limit is None else EVERYTHING
        for each, share in zip(ready, shares([one.file for one in ready], budget), strict=True):
            if self.rows_left <= 0:
                self.totals.limited = True
                return
            figures = FileFigures(each.file.name)
            self.totals.files.append(figures)
            if each.file.name in self.scored.finished:
                figures.known = figures.rows = self.scored.manifests[each.file.name].rows
                self.rows_left -= figures.rows
            elif share <= 0 or self.over:
                figures.read = 0.0
            else:
                yield from self.prompts_of_file(each, figures, share)

    @property
    def over(self) -> bool:
        """Whether reading must end."""
        return self.stop.is_set() or self.clock() >= self.ends

    def prompts_of_file(self, ready: ReadyFile, figures: FileFigures, share: float) -> Iterator[Prompt]:
        """Give the prompts of one file."""
        columnar = not FORMATS[ready.file.suffix].is_text
        in_part = share < 1
        # If nothing ends the reading early, the file is read as the run reads it.
        file = cut_file(ready.file, share) if in_part or self.ends < inf else ready.file
        most = inf
        try:
            if columnar and (in_part or self.ends < inf):
                figures.rows_in_footer = stated_rows(file, self.survey.options)
                most = inf if figures.rows_in_footer is None else ceil(figures.rows_in_footer * share)
            with open_rows(file, self.survey.options, ready.builder.columns) as table:
                rows: Iterable[Row | UnreadableRow] = table.rows
                if in_part and not columnar:
                    rows = without_last(rows)  # it may have been cut
                yield from self.prompts_of_rows(rows, ready, figures, most, in_part=in_part)
        except UnreadableFile as error:
            # A file that was cut breaks off.
            if not in_part or columnar:
                figures.problem = error.reason
        self.close(figures, file, columnar=columnar)

    def prompts_of_rows(
        self,
        rows: Iterable[Row | UnreadableRow],
        ready: ReadyFile,
        figures: FileFigures,
        most: float,
        *,
        in_part: bool,
    ) -> Iterator[Prompt]:
        """Give the prompts of at most `most` rows."""
        scored, estimator = self.scored, self.estimator
        has_records = figures.file in scored.manifests
        builder, look = ready.builder, LOOK_ROWS if ready.builder.images is None else 1
        for row in rows:
            if figures.rows >= most or (not figures.rows % look and self.over):
                figures.read = 0.0
                return
            if self.rows_left <= 0:
                self.totals.limited = True
                return
            self.rows_left -= 1
            figures.rows += 1
            if has_records and not in_part and scored.is_done(figures.file, row.number):
                figures.known += 1
                continue
            if look == 1 and self.clock() >= self.images_end:
                builder, look = replace(builder, images=None), LOOK_ROWS
            item = builder.build(row)
            # A file with records of which a part is read has as many known rows as these say.
            if not (has_records and in_part) and scored.has_answer(item):
                figures.known += 1
                continue
            if isinstance(item, Prompt) and ready.builder.images is not None:
                self.note_images(item)
            if not self.take(figures, item):
                continue
            if figures.counted_bytes:
                estimator.ratio = figures.counted_tokens / figures.counted_bytes
            assert isinstance(item, Prompt)
            self.totals.taken += 1
            self.totals.taken_bytes += len(item.body)
            yield item

    def note_images(self, prompt: Prompt) -> None:
        """Note the tokens of a row's images; if they were not read, set the average of the others."""
        if prompt.image_tokens:
            self.with_images += 1
            self.image_tokens += prompt.image_tokens
        elif self.with_images:
            prompt.image_tokens = round(self.image_tokens / self.with_images)

    def take(self, figures: FileFigures, item: Prompt | Settled) -> bool:
        """Add a row that is left to score; return whether it will be sent."""
        if self.settings.id or self.settings.keep:
            figures.record_bytes += len(item.id or "") + 8
            for name, value in unpacked(item.kept).items():
                text = value if isinstance(value, str) else orjson.dumps(value, default=str)
                figures.record_bytes += len(name) + 6 + len(text)
        if isinstance(item, Settled):
            assert isinstance(item.result, RowError)
            name = COUNTED_APART.get(item.result.code, "unreadable")
            setattr(figures, name, getattr(figures, name) + 1)
            return False
        truncate = self.settings.on_long_input == "truncate"
        size = len(item.body) - item.image_bytes
        tokens: float | None = None
        # A token has at least one byte, so short prompts fit without being counted.
        if self.most_tokens is not None and size > self.most_tokens:
            tokens = self.tokens(item)
            if tokens > self.most_tokens and not truncate:
                figures.input_too_long += 1
                return False
            figures.truncated += tokens > self.most_tokens
            tokens = min(tokens, float(self.most_tokens))
        room = inf if self.quota_tokens is None else self.quota_tokens - self.answer_tokens
        if size * LEAST_TOKENS_PER_BYTE > room:
            if not truncate or room <= 0:
                figures.above_quota += 1
                return False
            figures.truncated += 1
            tokens = min(self.tokens(item) if tokens is None else tokens, room)
        figures.prompts += 1
        figures.prompt_bytes += size
        if item.image_tokens:
            figures.with_images += 1
            figures.image_tokens += item.image_tokens
        elif self.task.takes_messages and NOT_TEXT.search(item.body):
            figures.with_pictures += 1
        counted = figures.counted_bytes
        due = counted < self.budget.counted_bytes or figures.prompt_bytes > counted * COUNTED_PART
        if tokens is None and due:
            tokens = self.tokens(item)
        if tokens is not None:
            figures.counted_bytes += size
            figures.counted_tokens += tokens
        return True

    def tokens(self, prompt: Prompt) -> float:
        """Count the tokens of one prompt."""
        return prompt_tokens(prompt.body, self.task, self.counter.count) + self.extra_tokens

    def close(self, figures: FileFigures, file: InputFile, *, columnar: bool) -> None:
        """Compute which share of the file was read."""
        if columnar:
            total = figures.rows_in_footer
            figures.read = 1.0 if not total or figures.read else figures.rows / total
        else:
            given = part_given(file)
            figures.read = 1.0 if figures.read and given >= 1 else min(given, 0.999)
        if self.totals.limited or not figures.rows:
            figures.read = 1.0 if self.totals.limited or not self.over else 0.0
        elif figures.read < 1:
            total = figures.rows_in_footer
            figures.scale = total / figures.rows if total else 1 / max(figures.read, 1e-9)
            manifest = self.scored.manifests.get(figures.file)
            if manifest is not None:  # its rows were not compared with their records
                settled = manifest.final_rows(retry_errors=self.scored.retry_errors)
                settled += len(self.scored.answered.get(figures.file, ()))
                left = max(0.0, 1 - settled / max(figures.all_rows, 1))
                figures.known = settled / figures.scale
                figures.prompts *= left
                figures.prompt_bytes *= left
                figures.image_tokens *= left

    def estimate_unread(self) -> None:
        """Estimate the files that were not read from those that were, by size and format."""
        sizes = {ready.file.name: ready.file for ready in self.survey.ready}
        read: defaultdict[str, list[FileFigures]] = defaultdict(list)
        for figures in self.totals.files:
            if figures.read > 0 and figures.file not in self.scored.finished:
                file = sizes[figures.file]
                read[f"{file.suffix} {file.compression}"].append(figures)
        # Summed once: there may be thousands of files on either side.
        sums = {kind: add_up(group) for kind, group in read.items()}
        bytes_read = {kind: sum(sizes[one.file].size for one in group) for kind, group in read.items()}
        of_all = add_up([figures for group in read.values() for figures in group])
        for figures in self.totals.files:
            file = sizes[figures.file]
            kind = f"{file.suffix} {file.compression}"
            seen = bytes_read.get(kind, sum(bytes_read.values()))
            if figures.read <= 0 and seen:
                for name, value in sums.get(kind, of_all).items():
                    setattr(figures, name, value)
                figures.scale = file.size / seen


#: The figures of a file that are sums over its rows.
_OTHERS = {"file", "read", "scale", "rows", "rows_in_footer", "problem"}
ADDED = tuple(each.name for each in fields(FileFigures) if each.name not in _OTHERS)


def add_up(group: Sequence[FileFigures]) -> dict[str, float]:
    """Return the sums of the figures of these files, each with all of its rows."""
    sums = {name: sum([getattr(one, name) * one.scale for one in group]) for name in ADDED}
    return {**sums, "rows": sum([one.all_rows for one in group])}


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
