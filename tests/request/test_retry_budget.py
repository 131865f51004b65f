"""What a request's budget says of 429s; tests/engine/test_engine_judging.py says what follows."""

from __future__ import annotations

import pytest

from batchscore.request.retry_budget import RetryBudget

#: A deployment's 429s, answers, and requests with a 429.
BUSY, NEW = (1000, 500, 800), (3, 2, 3)


@pytest.mark.parametrize(
    ("later", "few"),
    [
        ((1002, 510, 801), True),
        ((1400, 505, 1100), False),
        (NEW, False),
    ],
)
def test_few_others_are_limited_only_where_the_same_deployment_says_so(
    later: tuple[int, int, int],
    few: bool,  # noqa: FBT001 - a case
) -> None:
    """After 429s of another deployment it is not known, so the row keeps its longer time."""
    budget = RetryBudget(6)
    budget.note_rate_limit(0.0, 0.0, BUSY)
    budget.note_rate_limit(1.0, 0.0, later)
    assert budget.few_others_limited is few
