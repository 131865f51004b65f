"""How a run sits in its process: what it changes there is put back."""

from __future__ import annotations

import gc

from batchscore.run.event_loop import MANY_OBJECTS, collecting_seldom


def test_the_last_of_several_runs_puts_the_collector_back() -> None:
    before = gc.get_threshold()
    first, second = collecting_seldom(), collecting_seldom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == MANY_OBJECTS
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
