"""How many batches would a run send through the Batch API, and how many tokens at once?"""

from __future__ import annotations

from batchscore.batch.cut import CANARY_ROWS, LINE_BYTES, Size, chunks_of, limits_of, predicted_bytes
from batchscore.plan.figures import PlanTotals
from batchscore.provider.traits import AZURE_V1, COMPATIBLE
from batchscore.settings.fields import Settings
from batchscore.task import TASKS

#: The tasks that batches of Azure OpenAI take.
ON_AZURE = AZURE_V1.tasks


def batches_of(settings: Settings, totals: PlanTotals) -> int:
    """Return about how many batches the rows fill; the endpoint need not be known, for limits are alike."""
    rows = round(totals.prompts)
    sent = sum(one.total("prompt_bytes") for one in totals.files) + rows * LINE_BYTES
    results = rows * predicted_bytes(settings, TASKS[settings.task])
    size = Size(rows, round(sent), totals.tokens, rows, results)
    canary = not settings.no_canary and rows > CANARY_ROWS
    return chunks_of(size, limits_of(COMPATIBLE, settings.batch_tokens)) + canary


def tokens_at_once(settings: Settings, totals: PlanTotals) -> int:
    """Return the most prompt tokens in batches that have not ended."""
    return min(totals.tokens, settings.batch_tokens or totals.tokens)


def own_lines(settings: Settings, totals: PlanTotals) -> int:
    """Return how many lines of our own the first batch has, which are answered like rows."""
    return int(settings.via == "batch" and totals.sent > 0 and not settings.no_canary)
