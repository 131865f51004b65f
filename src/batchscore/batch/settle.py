"""Which result does each row of an ended chunk have, and which rows must be sent again?

Rows are reconciled one by one, never by counts. The first line of a row counts. What refuses every row of a
chunk is a fault of the request, not of the rows: then the run stops. So it does if no reply can be used.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import xxhash

from batchscore.batch.billing import Billing
from batchscore.batch.build import ChunkWork
from batchscore.batch.custom_id import own_row, probe_id
from batchscore.batch.results import ResultLine, billed, judge, lines_of, not_run, read_line
from batchscore.batch.submit import SAME_PROBLEMS, Move
from batchscore.batch.work import Ended
from batchscore.errors import ErrorCode, ServiceRefused, count_text
from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.replies import ReplyReader, ReplyScores
from batchscore.request.outcome_rules import ERROR_TEXTS, Action, Outcome, refused_alone
from batchscore.rows import Prompt, RowError, Settled

#: Rows that are given at a time.
MOST_ROWS = 1000

#: Refusals of every request; the others are about rows.
OF_ALL = frozenset({Action.STOP, Action.RENEW_TOKEN})


@dataclass(slots=True)
class Anomalies:
    """Lines of results that settle nothing."""

    foreign: int = 0
    unreadable: int = 0
    repeated: int = 0
    contradictory: int = 0

    def __str__(self) -> str:
        """Return them in words, "" if there are none."""
        words = {
            "of no row of this batch": self.foreign,
            "unreadable": self.unreadable,
            "repeated": self.repeated - self.contradictory,
            "with a second, different answer": self.contradictory,
        }
        return ", ".join(f"{count:,} {what}" for what, count in words.items() if count)


@dataclass(slots=True)
class Settling:
    """The rows of one ended chunk on their way to their results.

    `again` gets each row that must be sent again, and whether that counts as a round. If no row is answered,
    fewer than `most_alike` equal refusals are faults of the rows. `recorded` counts the answers to rows that
    have their records, `unusable` the replies with a good status that could not be used.
    """

    ended: Ended
    reader: ReplyReader
    form: BodyFormat
    billing: Billing
    rounds: float
    again: Callable[[int, Prompt, bool], None]
    most_alike: float = 0
    anomalies: Anomalies = field(default_factory=Anomalies)
    answered: int = 0
    recorded: int = 0
    unusable: int = 0
    held: list[tuple[int, Outcome]] = field(default_factory=list)
    probe: Outcome | ReplyScores | None = None
    work: ChunkWork = field(init=False)
    seen: array[int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin without lines."""
        self.work = self.ended.work
        self.seen = array("Q", bytes(8 * self.work.chunk.rows))

    @property
    def proven(self) -> bool:
        """Whether the service answers such requests: what it refuses is the fault of rows."""
        return self.answered + self.recorded > 0 or isinstance(self.probe, ReplyScores)

    def rows(self) -> Iterator[list[Settled]]:
        """Give the settled rows; raises `ServiceRefused` if the service refuses all of them alike."""
        waiting: list[Settled] = []
        for settled in self.each():
            waiting.append(settled)
            if len(waiting) >= MOST_ROWS or self.billing.is_full:
                self.billing.report()
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def each(self) -> Iterator[Settled]:
        """Give one settled row after the other: those of all lines, then the others."""
        for path in self.ended.results:
            for raw in lines_of(path):
                if (settled := self.line(raw)) is not None:
                    yield settled
        self.billing.report()
        self.raise_refused()
        yield from self.rest()

    def line(self, raw: bytes) -> Settled | None:
        """Return the row that a line settles, `None` if it settles none now."""
        line = read_line(raw)
        if line is None:
            self.anomalies.unreadable += 1
            return None
        if line.custom_id == probe_id(self.work.chunk.key):
            self.probed(line)
            return None
        index = self.index_of(line)
        if index is None:
            return None
        prompt = self.work.prompts.get(index)
        if prompt is None:  # its record is there, or the input has it no more
            self.recorded += 200 <= line.status < 300
            return None
        sent = self.form.body([prompt])
        judged = judge(line, self.reader, sent)
        if isinstance(judged, ReplyScores):
            self.billing.answered(prompt, judged.prompt_tokens, judged.completion_tokens)
            self.answered += 1
            return prompt.settled(judged.scores[0])
        tokens = billed(line, self.reader, sent)
        self.billing.failed(prompt, line.status or None, judged.code.value, tokens)
        self.unusable += judged.needs_action
        self.held.append((index, judged))
        return None

    def probed(self, line: ResultLine) -> None:
        """Take the line of our own, which is counted once."""
        judged = judge(line, self.reader, b"")
        cause = judged.code.value if isinstance(judged, Outcome) else ""
        if self.probe is None:
            self.billing.probed(line.status or None, cause, billed(line, self.reader, b""))
        self.unusable += isinstance(judged, Outcome) and judged.needs_action
        self.probe = judged

    def index_of(self, line: ResultLine) -> int | None:
        """Return the row of a line; `None` if that is none of this chunk, or has had a line."""
        index = own_row(line.custom_id, self.work.chunk.key, self.work.digests)
        if index is None:
            self.anomalies.foreign += 1
            return None
        content = xxhash.xxh3_64_intdigest(line.json, line.status) or 1
        if known := self.seen[index]:
            self.anomalies.repeated += 1
            self.anomalies.contradictory += known != content
            return None
        self.seen[index] = content
        return index

    def raise_refused(self) -> None:
        """Raise `ServiceRefused` if no row of the chunk was answered, and the rows are not the reason."""
        if self.proven or not self.held:
            return
        first = self.held[0][1]
        if isinstance(self.probe, Outcome) and self.probe.action is not Action.RETRY:
            first = self.probe
        if first.action in OF_ALL:
            raise ServiceRefused(first.reason)
        if self.unusable >= max(1, min(self.most_alike, SAME_PROBLEMS)):
            reason = next(outcome.reason for _, outcome in self.held if outcome.needs_action)
            rows = count_text(self.work.chunk.rows, "row")
            raise ServiceRefused(
                f"a batch of {rows} has no usable reply, and they are billed, so nothing more is sent. "
                f"{reason} Check the parameters, and whether it is a service of this kind."
            )
        if first.action is not Action.SPLIT or first.code is not ErrorCode.INVALID_REQUEST:
            return
        alike = sum([first.is_like(outcome) for _, outcome in self.held])
        if alike >= self.most_alike and alike == len(self.held):
            rows = count_text(alike, "row")
            raise ServiceRefused(
                f"the service refused {rows} for the same reason, and answered none of their batch, so a "
                f"parameter is probably wrong: {first.reason}"
            )

    def rest(self) -> Iterator[Settled]:
        """Give the rows with an error; the others are sent again."""
        for index, outcome in self.held:
            settled = self.refused(index, outcome)
            if settled is not None:
                yield settled
        lines = self.ended.decision.lines if self.ended.decision.move is Move.DROP_LINES else {}
        for index in range(self.work.chunk.rows):
            if self.seen[index]:
                continue
            prompt = self.work.prompts.get(index)
            if prompt is None:
                continue
            if index in lines:
                text = f"{ERROR_TEXTS[ErrorCode.INVALID_REQUEST]} ({lines[index]})."
                yield prompt.settled(RowError(ErrorCode.INVALID_REQUEST, text, 400, 1))
            elif lines or self.ended.decision.move is Move.HALVE:
                self.again(index, prompt, False)
            else:
                settled = self.retried(index, prompt, not_run())
                if settled is not None:
                    yield settled

    def refused(self, index: int, outcome: Outcome) -> Settled | None:
        """Return the row with its error, or `None` if it is sent again."""
        chunk = self.work.chunk
        prompt = self.work.prompts.get(index)
        assert prompt is not None
        if outcome.action is Action.ADAPT and outcome.detail not in chunk.adapted:
            if self.form.adapt(outcome.detail):
                self.again(index, prompt, False)
                return None
        elif outcome.action in OF_ALL:
            outcome = refused_alone(outcome, first=chunk.round == 1)
        if outcome.action is Action.RETRY:
            return self.retried(index, prompt, outcome)
        return prompt.settled(outcome.error(chunk.round))

    def retried(self, index: int, prompt: Prompt, outcome: Outcome) -> Settled | None:
        """Send a row again in the next round, or return it with its error after the last.

        A reply in a wrong form is billed, so its row is sent once more, and not in each round.
        """
        is_same_again = outcome.needs_action and outcome.detail and self.work.chunk.round > 1
        if self.work.chunk.round < self.rounds and not is_same_again:
            self.again(index, prompt, True)
            return None
        return prompt.settled(outcome.error(self.work.chunk.round))
