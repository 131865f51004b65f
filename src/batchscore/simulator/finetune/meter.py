"""What does fine-tuning cost until now: training by tokens, once a job, and deployments by the hour?

It must not know how jobs and deployments proceed: it reads what they did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from batchscore.simulator.finetune.deployments import AccountDeployment
from batchscore.simulator.finetune.job import TuningJob
from batchscore.simulator.finetune.rules import FineTuneRules


def training_bill(jobs: Iterable[TuningJob], rules: FineTuneRules) -> dict[str, Any]:
    """Return what the jobs cost. Those that failed cost nothing, a cancelled one what was done."""
    by_job = {
        job.id: {"tokens": job.billed_tokens, "cost": job.billed_tokens / 1e6 * rules.training_price}
        for job in jobs
        if job.billed_tokens
    }
    tokens = sum(each["tokens"] for each in by_job.values())
    return {"tokens": tokens, "cost": tokens / 1e6 * rules.training_price, "jobs": by_job}


def hosting_bill(
    deployments: Sequence[AccountDeployment], now: float, rules: FineTuneRules
) -> dict[str, Any]:
    """Return what the deployments of tuned models cost, by the hours that they were there."""
    shown = []
    for one in deployments:
        paid = one.paid_seconds(now) / 3600
        until = now if one.ended_at is None else one.ended_at
        shown.append(
            {
                "name": one.name,
                "model": one.wanted.model,
                "sku": one.wanted.sku,
                "capacity": one.wanted.capacity,
                "created_at": one.created_at,
                "ended_at": one.ended_at,
                "ended_by": one.ended_by,
                "hours": (until - one.created_at) / 3600,
                "cost": paid * rules.hosting_price,
            }
        )
    return {
        "hours": sum(one.paid_seconds(now) for one in deployments) / 3600,
        "cost": sum(one["cost"] for one in shown),
        "running": [one["name"] for one in shown if one["ended_at"] is None],
        "deployments": shown,
    }
