"""The event loop of a run: what a run changes in its process is restored."""

from __future__ import annotations

import gc

from batchscore.run.event_loop import COLLECT_AFTER_OBJECTS, rare_garbage_collection


def test_the_last_of_several_runs_restores_the_garbage_collector() -> None:
    before = gc.get_threshold()
    first, second = rare_garbage_collection(), rare_garbage_collection()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == COLLECT_AFTER_OBJECTS
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
