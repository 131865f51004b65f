"""What did the answers cost, and what does a right one?

Tokens are from the manifests, money from the records of the runs if all of them had prices. It sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from batchscore.evaluate.scored import ScoredOutput
from batchscore.report.page.make import read_runs


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Requests, tokens and money of an output, and its share for each right answer; `None`: unknown.

    The share takes all rows of the output to cost the same: some of them may have no label.
    """

    requests: int
    tokens_billed: int
    tokens_kept: int
    money: float | None
    right: float | None
    tokens_each_right: float | None
    money_each_right: float | None


def cost_of(output: ScoredOutput, evaluated: int, right: float | None) -> AnswerCost:
    """Return the cost of an output, of which some rows were evaluated and some of these are right."""
    spent = {
        name: sum(each.costs[name] for each in output.manifests)
        for name in ("attempts", "tokens_billed", "tokens_kept")
    }
    runs, _ = read_runs(output.layout.root, inf)
    costs = [run.cost for run in runs if run.task == output.task.name]
    known = [each for each in costs if each is not None]
    money = sum(known) if known and len(known) == len(costs) else None
    rows = sum(each.ok + each.errors for each in output.manifests)
    share = evaluated / rows / right if rows and right else None
    tokens = spent["tokens_billed"]
    return AnswerCost(
        spent["attempts"],
        tokens,
        spent["tokens_kept"],
        money,
        right,
        tokens * share if share is not None and tokens else None,
        money * share if share is not None and money is not None else None,
    )
