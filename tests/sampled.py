"""Which cases of a large table run by default? A few; the others are marked `slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(names: str, cases: Iterable[Any], by_default: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrize with all the cases, and mark those `slow` that do not run by default."""
    always, several = list(by_default), "," in names
    listed = list(cases)
    assert all(case in listed for case in always), "a case to run by default is no case"
    return pytest.mark.parametrize(
        names,
        [
            pytest.param(*(case if several else (case,)), marks=() if case in always else pytest.mark.slow)
            for case in listed
        ],
    )
