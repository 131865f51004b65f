"""What would this run do, and what would it cost? Answered without sending anything.

It joins survey, measurement and arithmetic for the settings of a run. It writes and locks nothing, and needs
no endpoint or key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

from batchscore.errors import ExitCode
from batchscore.output.spec import output_of, part_format
from batchscore.plan.already_scored import AlreadyScored, find_already_scored
from batchscore.plan.batches import batches_of, own_lines
from batchscore.plan.estimates import (
    COMMON_LIMITS,
    TOKEN_BYTES,
    Pace,
    RateLimits,
    dimensions_of,
    pace,
    rate_limits_of,
    record_bytes,
)
from batchscore.plan.extent import EVERYTHING, FOR_A_PLAN
from batchscore.plan.figures import PlanTotals
from batchscore.plan.measure import Measurement
from batchscore.plan.survey import Survey, check_output, survey
from batchscore.plan.vocabulary import TokenCounter
from batchscore.plan.without_effect import without_effect
from batchscore.read.input_file import is_standard_input
from batchscore.rows import Prompt
from batchscore.settings.deadline import moment_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, cut
from batchscore.task import TASKS

#: A guess for an answer without a limit; the plan says that it is one.
USUAL_ANSWER_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do; figures that cannot be known are `None`.

    `answer_tokens` are those of all answers: the maximum if there is one, else a guess. `paces` holds
    the duration at each of some rate limits; `given`: these limits are the settings' own. `batches` are those
    of the Batch API, `None` for live requests. `cost` is in the currency of the prices, `seconds` is what
    planning took. `unused` says which settings change nothing.
    """

    settings: Settings
    survey: Survey
    totals: PlanTotals
    scored: AlreadyScored
    counter: TokenCounter
    answer_tokens: int
    paces: Sequence[tuple[RateLimits, Pace]]
    given: bool
    dimensions: int | None
    bytes: int | None
    cost: float | None
    batches: int | None
    seconds: float
    unused: Sequence[str] = ()

    @property
    def requests(self) -> int:
        """The requests of live rows, or the lines of batches: each has one row, or is our own."""
        if self.batches is None:
            return self.totals.all_requests
        return round(self.totals.prompts) + own_lines(self.settings, self.totals)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """The files that cannot be scored, or not completely, and why."""
        found = [(one.file, one.problem) for one in self.totals.files if one.problem]
        return found + [(each.name, each.reason) for each in self.survey.problems]

    @property
    def exit_code(self) -> ExitCode:
        """That of a run which stops at nothing else."""
        return ExitCode.ACTION_NEEDED if self.unreadable else ExitCode.DONE


def plan_files(settings: Settings, inputs: Sequence[str], *, with_output: bool, exactly: bool) -> Plan:
    """Return the plan of a run over files; raises the errors with which the run itself would not start.

    `with_output`: the settings name a real output. `exactly`: everything is read, however large.
    """
    started = time.monotonic()
    if settings.deadline is not None:
        moment_of(settings.deadline, datetime.now(timezone.utc))
    output = output_of(cut(OutputSettings, settings)) if with_output else None
    surveyed = survey(inputs, settings, output=None if output is None else output.named)
    if output is not None:
        check_output(settings, surveyed, output)
    scored = find_already_scored(settings, surveyed, output)
    measurement = Measurement(settings, surveyed, scored, EVERYTHING if exactly else FOR_A_PLAN)
    totals, counter = measurement.measure(), measurement.counter
    in_part = any(file.counted_bytes < file.prompt_bytes for file in totals.files)
    if in_part and counter.accuracy.startswith("exact"):
        accuracy = "near: of large files some rows are counted, and represent all"
        counter = replace(counter, accuracy=accuracy)
    each_answer = settings.answer_tokens
    if each_answer is None:
        default = TASKS[settings.task].default_answer_tokens
        each_answer = USUAL_ANSWER_TOKENS if default is None else default
    each_answer *= settings.answers_per_row
    answers = round(each_answer * totals.sent)
    lines = own_lines(settings, totals)
    of_lines = lines * measurement.tokens(Prompt("", 0, TASKS[settings.task].probe))
    limits = rate_limits_of(settings)
    pace_at = partial(pace, totals.all_requests, totals.tokens + answers)
    own = pace_at(limits)
    paces = [(usual, found) for usual in COMMON_LIMITS if (found := pace_at([usual])) is not None]
    if own is not None:
        paces = [(sum_limits(limits), own)]
    dimensions = dimensions_of(settings) or scored.dimensions
    kind = settings.format if output is None else part_format(settings.format, output)
    each_record = record_bytes(settings, kind, dimensions)
    written = None if each_record is None else totals.prompts * each_record + totals.carried_bytes
    return Plan(
        settings=settings,
        survey=surveyed,
        totals=totals,
        scored=scored,
        counter=counter,
        answer_tokens=answers,
        paces=paces,
        given=own is not None,
        dimensions=dimensions,
        bytes=None if written is None else round(written + answers * TOKEN_BYTES),
        cost=settings.cost(round(totals.tokens + of_lines), round(answers + lines * each_answer)),
        batches=batches_of(settings, totals) if settings.via == "batch" else None,
        seconds=time.monotonic() - started,
        unused=[*without_effect(settings, surveyed.suffixes, output, piped=is_standard_input(inputs))],
    )


def sum_limits(deployments: Sequence[RateLimits]) -> RateLimits:
    """Return the sum of several deployments' limits; `None` for a limit that not all of them have."""
    rpm, tpm = zip(*deployments, strict=True)
    return RateLimits(None if None in rpm else sum(rpm), None if None in tpm else sum(tpm))
