"""Which random fault does the next request get?

It must not know the request. The same seed gives the same series of faults.
"""

from __future__ import annotations

import random

from batchscore.simulator.script import Behaviour
from batchscore.simulator.settings import SimulatorSettings


class RandomFaults:
    """Draws a fault for each request, by the shares in the settings, and its latency."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)  # noqa: S311 - not for secrets
        self._table = (
            (settings.fail_500, Behaviour(status=500)),
            (settings.fail_503, Behaviour(status=503)),
            (settings.fail_429, Behaviour(status=429, retry_after=1.0)),
            (settings.reset, Behaviour(drop="after")),
            (settings.hang, Behaviour(hang=settings.hang_seconds)),
            (settings.truncate, Behaviour(truncate=0.5)),
        )
        self._any = any(share for share, _ in self._table)

    def draw(self) -> Behaviour | None:
        """Return the fault of the next request; mostly None."""
        if not self._any:
            return None
        rest = self._random.random()
        for share, behaviour in self._table:
            rest -= share
            if rest < 0:
                return behaviour
        return None

    def latency(self) -> float:
        """Return the seconds to wait before a response."""
        jitter = self._settings.latency_jitter
        return self._settings.latency + (jitter * self._random.random() if jitter else 0.0)
