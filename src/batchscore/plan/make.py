"""What would this run do, and what would it cost? Answered without asking anybody.

It joins survey, measuring and arithmetic for the settings of a run. Nothing is sent, written or locked, and
no endpoint or key is needed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from math import inf

from batchscore.output.place import Output, output_of
from batchscore.output.spec import part_format
from batchscore.plan.already_scored import Standing, standing_of
from batchscore.plan.extent import EVERYTHING, FOR_A_PLAN, Budget
from batchscore.plan.figures import Found
from batchscore.plan.measure import Measuring
from batchscore.plan.meter import Meter
from batchscore.plan.output_size import dimensions_of, most_input_tokens, output_bytes
from batchscore.plan.pace import USUAL, Allowed, Pace, allowed_by, pace
from batchscore.plan.survey import Survey, survey
from batchscore.plan.vocabulary import Counting, counting_for, parameter_tokens
from batchscore.request.quota.windows import SMOOTHING_SECONDS
from batchscore.settings.deadline import moment_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, cut
from batchscore.simulator.words import count_tokens

#: Of an answer whose length nobody bounded: no more than a guess, and told as one.
USUAL_ANSWER_TOKENS = 200

#: What the completions API writes where `max_tokens` is not set.
COMPLETIONS_ANSWER_TOKENS = 16

#: How the simulator counts, whose usage a rehearsal gets.
SIMULATED = Counting("as the simulator counts", "exact for what it answers", "simulator", count_tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do; figures that nobody can know are `None`.

    `answer_tokens` are those of all answers: the most where they are `bounded`, else a guess.
    `charged_tokens` are what limits count: prompts and the most of answers. `paces` gives for each of some
    limits how long it takes; `given` tells whether these are the settings' own. `cost` is in the money of the
    prices.
    """

    settings: Settings
    output: Output | None
    surveyed: Survey
    found: Found
    standing: Standing
    counting: Counting
    bounded: bool
    answer_tokens: int
    paces: Sequence[tuple[Allowed, Pace]]
    given: bool
    dimensions: int | None
    bytes: int | None
    cost: float | None
    seconds: float

    @property
    def charged_tokens(self) -> int:
        """What the limits are charged."""
        return self.found.tokens + self.answer_tokens

    @property
    def rows(self) -> int:
        """All rows, those of earlier runs among them."""
        return self.found.rows


def plan_files(settings: Settings, inputs: Sequence[str], *, with_output: bool, exactly: bool) -> Plan:
    """Plan a run over files; raises the errors with which the run itself would refuse to begin.

    `with_output`: the settings' output is meant. `exactly`: everything is read, however much there is.
    """
    started = time.monotonic()
    if settings.deadline is not None:
        moment_of(settings.deadline, datetime.now(timezone.utc))
    output = output_of(cut(OutputSettings, settings)) if with_output else None
    surveyed = survey(inputs, settings, output=None if output is None else output.named)
    standing = standing_of(settings, surveyed, output)
    counting = counting_of(settings)
    budget = EVERYTHING if exactly else FOR_A_PLAN
    found = packed(settings, measuring_for(settings, surveyed, standing, counting, budget))
    if found.counted_in_part:
        counting = in_part(counting)
    answers = round(answer_tokens(settings) * found.asked)
    given = allowed_by(settings)
    timed = partial(pace, found.all_requests, found.tokens + answers)
    own = timed(given)
    paces = (
        [(together(given), own)]
        if own is not None
        else [(limit, found_pace) for limit in USUAL if (found_pace := timed([limit])) is not None]
    )
    dimensions = dimensions_of(settings) or standing.dimensions
    names = sum((len(file.file) * file.prompts + file.record_bytes) * file.scale for file in found.files)
    kind = settings.format if output is None else part_format(settings.format, output)
    return Plan(
        settings=settings,
        output=output,
        surveyed=surveyed,
        found=found,
        standing=standing,
        counting=counting,
        bounded=settings.answer_tokens is not None,
        answer_tokens=answers,
        paces=paces,
        given=own is not None,
        dimensions=dimensions,
        bytes=output_bytes(
            settings,
            kind,
            rows=found.prompts,
            carried_bytes=names,
            dimensions=dimensions,
            answer_tokens=answers,
        ),
        cost=settings.cost(found.tokens, answers),
        seconds=time.monotonic() - started,
    )


def in_part(counting: Counting) -> Counting:
    """Return a way to count that was used on some rows only, in its own words: then it is not exact."""
    if not counting.accuracy.startswith("exact"):
        return counting
    return replace(counting, accuracy="near: of large files some rows are counted, and stand for all")


def counting_of(settings: Settings) -> Counting:
    """Return how this run's tokens are counted."""
    return SIMULATED if settings.simulate else counting_for(settings.model, settings.task)


def measuring_for(
    settings: Settings, surveyed: Survey, standing: Standing, counting: Counting, budget: Budget
) -> Measuring:
    """Return what measures the files of a survey for these settings."""
    quotas = [each.tpm for each in allowed_by(settings)]
    meter = Meter(
        task=settings.task,
        count=counting.count,
        extra_tokens=parameter_tokens(settings.param, counting.count) if settings.task == "chat" else 0.0,
        answer_tokens=(settings.answer_tokens or 0.0) * settings.answers_per_row,
        most_tokens=most_input_tokens(settings),
        quota_tokens=max((tpm / settings.quota_share for tpm in quotas if tpm is not None), default=None)
        if None not in quotas
        else None,
        truncate=settings.on_long_input == "truncate",
        carried=bool(settings.id or settings.keep),
        counted_bytes=budget.counted_bytes,
    )
    return Measuring(surveyed, meter, standing, budget, limit=settings.limit)


def packed(settings: Settings, measuring: Measuring) -> Found:
    """Measure, with prompts packed into requests as the engine packs them."""
    allowed = allowed_by(settings)
    rates = [each.tpm / 60 for each in allowed if each.tpm is not None]
    # Of several deployments each has its own size of request; the larger ones take more of the work.
    smooth = sum(rate * rate for rate in rates) / sum(rates) * SMOOTHING_SECONDS if rates else inf
    return measuring.measure(
        most_rows=settings.batch_size if settings.task == "embeddings" else 1,
        smooth_tokens=max(1.0, smooth),
        dedup=settings.dedup,
    )


def answer_tokens(settings: Settings) -> float:
    """Return the tokens of one row's answers: the most that is set, else what the API does, else a guess."""
    if settings.answer_tokens is not None:
        each = settings.answer_tokens
    else:
        each = COMPLETIONS_ANSWER_TOKENS if settings.task == "completions" else USUAL_ANSWER_TOKENS
    return each * settings.answers_per_row


def together(deployments: Sequence[Allowed]) -> Allowed:
    """Return what several deployments allow together, as far as all of them say."""
    rpm = [each.rpm for each in deployments if each.rpm is not None]
    tpm = [each.tpm for each in deployments if each.tpm is not None]
    return Allowed(
        sum(rpm) if len(rpm) == len(deployments) else None,
        sum(tpm) if len(tpm) == len(deployments) else None,
    )
