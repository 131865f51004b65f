"""What did the answers cost, and what does a right one?

All runs count, also those whose answers a later run has replaced. It sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from batchscore.evaluate.scored import ScoredOutput
from batchscore.report.page.make import read_runs
from batchscore.report.page.runs import number

#: What the manifests count of each file, and what runs count.
_OF_FILES = ("attempts", "tokens_billed", "tokens_kept")
_OF_RUNS = ("requests", "tokens_billed", "tokens_kept")


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Requests, tokens and money of an output, and its share for each right answer; `None`: unknown.

    The share takes all `rows` with a record to cost the same: those that were `evaluated` have a label, too.
    """

    requests: int
    tokens_billed: int
    tokens_kept: int
    money: float | None
    rows: int
    evaluated: int
    right: float | None
    tokens_each_right: float | None
    money_each_right: float | None


def cost_of(output: ScoredOutput, evaluated: int, right: float | None) -> AnswerCost:
    """Return the cost of an output: some rows with a record were `evaluated`, and some of these are right.

    Manifests forget the rows that a later run has replaced, records of runs lack what a killed run has sent:
    the larger count is used. Money is known if the records of the runs hold it all.
    """
    recorded, _ = read_runs(output.layout.root, inf)
    runs = [run for run in recorded if run.task == output.task.name]
    of_files = [sum(each.costs[name] for each in output.manifests) for name in _OF_FILES]
    of_runs = [sum(int(number(run.this_run, name)) for run in runs) for name in _OF_RUNS]
    requests, tokens, kept = max(of_runs, of_files, key=lambda each: each[1])
    costs = [run.cost for run in runs]
    known = [each for each in costs if each is not None]
    money = sum(known) if known and len(known) == len(costs) and tokens == of_runs[1] else None
    rows = sum(each.ok + each.errors for each in output.manifests)
    share = evaluated / rows / right if rows and right else None
    return AnswerCost(
        requests,
        tokens,
        kept,
        money,
        rows,
        evaluated,
        right,
        tokens * share if share is not None and tokens else None,
        money * share if share is not None and money is not None else None,
    )
