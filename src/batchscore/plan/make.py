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
from math import inf

from batchscore.output.place import Output, output_of
from batchscore.output.spec import part_format
from batchscore.plan.already_scored import AlreadyScored, find_already_scored
from batchscore.plan.extent import EVERYTHING, FOR_A_PLAN, Budget
from batchscore.plan.figures import PlanTotals
from batchscore.plan.measure import Measurement
from batchscore.plan.meter import Meter
from batchscore.plan.output_size import dimensions_of, most_input_tokens, output_bytes
from batchscore.plan.pace import COMMON_LIMITS, Pace, RateLimits, pace, rate_limits_of
from batchscore.plan.survey import Survey, survey
from batchscore.plan.vocabulary import TokenCounter, parameter_tokens, token_counter_for
from batchscore.request.quota.windows import SMOOTHING_SECONDS
from batchscore.settings.deadline import moment_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, cut
from batchscore.simulator.words import count_tokens
from batchscore.task import TASKS

#: A guess for an answer without a limit; the plan says that it is one.
USUAL_ANSWER_TOKENS = 200

#: How the simulator counts; a rehearsal gets the simulator's usage.
SIMULATED = TokenCounter("as the simulator counts", "exact for what it answers", "simulator", count_tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do; figures that cannot be known are `None`.

    `answer_tokens` are those of all answers: the maximum if they are `bounded`, else a guess. `paces` holds
    the duration at each of some rate limits; `given`: these limits are the settings' own. `cost` is in the
    currency of the prices, `seconds` is what planning took.
    """

    settings: Settings
    output: Output | None
    survey: Survey
    totals: PlanTotals
    scored: AlreadyScored
    counter: TokenCounter
    bounded: bool
    answer_tokens: int
    paces: Sequence[tuple[RateLimits, Pace]]
    given: bool
    dimensions: int | None
    bytes: int | None
    cost: float | None
    seconds: float


def plan_files(settings: Settings, inputs: Sequence[str], *, with_output: bool, exactly: bool) -> Plan:
    """Return the plan of a run over files; raises the errors with which the run itself would not start.

    `with_output`: the settings name a real output. `exactly`: everything is read, however large.
    """
    started = time.monotonic()
    if settings.deadline is not None:
        moment_of(settings.deadline, datetime.now(timezone.utc))
    output = output_of(cut(OutputSettings, settings)) if with_output else None
    surveyed = survey(inputs, settings, output=None if output is None else output.named)
    scored = find_already_scored(settings, surveyed, output)
    counter = token_counter_of(settings)
    budget = EVERYTHING if exactly else FOR_A_PLAN
    totals = measure_requests(settings, measurement_for(settings, surveyed, scored, counter, budget))
    if totals.counted_in_part and counter.accuracy.startswith("exact"):
        accuracy = "near: of large files some rows are counted, and represent all"
        counter = replace(counter, accuracy=accuracy)
    answers = round(answer_tokens(settings) * totals.sent)
    limits = rate_limits_of(settings)
    pace_at = partial(pace, totals.all_requests, totals.tokens + answers)
    own = pace_at(limits)
    paces = (
        [(sum_limits(limits), own)]
        if own is not None
        else [(usual, found) for usual in COMMON_LIMITS if (found := pace_at([usual])) is not None]
    )
    dimensions = dimensions_of(settings) or scored.dimensions
    return Plan(
        settings=settings,
        output=output,
        survey=surveyed,
        totals=totals,
        scored=scored,
        counter=counter,
        bounded=settings.answer_tokens is not None,
        answer_tokens=answers,
        paces=paces,
        given=own is not None,
        dimensions=dimensions,
        bytes=output_bytes(
            settings,
            settings.format if output is None else part_format(settings.format, output),
            rows=totals.prompts,
            carried_bytes=totals.carried_bytes,
            dimensions=dimensions,
            answer_tokens=answers,
        ),
        cost=settings.cost(totals.tokens, answers),
        seconds=time.monotonic() - started,
    )


def token_counter_of(settings: Settings) -> TokenCounter:
    """Return how this run's tokens are counted."""
    return SIMULATED if settings.simulate else token_counter_for(settings.model, TASKS[settings.task])


def measurement_for(
    settings: Settings, survey: Survey, scored: AlreadyScored, counter: TokenCounter, budget: Budget
) -> Measurement:
    """Return the measurement of a survey's files for these settings."""
    task = TASKS[settings.task]
    quotas = [each.tpm for each in rate_limits_of(settings)]
    meter = Meter(
        task=task,
        count=counter.count,
        extra_tokens=parameter_tokens(settings.param, counter.count) if task.takes_messages else 0.0,
        answer_tokens=(settings.answer_tokens or 0.0) * settings.answers_per_row,
        most_tokens=most_input_tokens(settings),
        quota_tokens=max((tpm / settings.quota_share for tpm in quotas if tpm is not None), default=None)
        if None not in quotas
        else None,
        truncate=settings.on_long_input == "truncate",
        carried=bool(settings.id or settings.keep),
        counted_bytes=budget.counted_bytes,
    )
    return Measurement(survey, meter, scored, budget, limit=settings.limit)


def measure_requests(settings: Settings, measurement: Measurement) -> PlanTotals:
    """Measure, with prompts packed into requests as the engine packs them."""
    rates = [each.tpm / 60 for each in rate_limits_of(settings) if each.tpm is not None]
    # Each of several deployments has its own size of request; the larger ones take more of the work.
    smooth = sum(rate * rate for rate in rates) / sum(rates) * SMOOTHING_SECONDS if rates else inf
    return measurement.measure(
        most_rows=settings.batch_size if TASKS[settings.task].packs_many else 1,
        smooth_tokens=max(1.0, smooth),
        dedup=settings.dedup,
    )


def answer_tokens(settings: Settings) -> float:
    """Return the tokens of one row's answers: the limit that is set, else the API's default, else a guess."""
    default = TASKS[settings.task].default_answer_tokens
    known = next((each for each in (settings.answer_tokens, default) if each is not None), None)
    return (USUAL_ANSWER_TOKENS if known is None else known) * settings.answers_per_row


def sum_limits(deployments: Sequence[RateLimits]) -> RateLimits:
    """Return the sum of several deployments' limits; `None` for a limit that not all of them have."""
    rpm = [each.rpm for each in deployments if each.rpm is not None]
    tpm = [each.tpm for each in deployments if each.tpm is not None]
    return RateLimits(
        sum(rpm) if len(rpm) == len(deployments) else None,
        sum(tpm) if len(tpm) == len(deployments) else None,
    )
