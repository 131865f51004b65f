"""Which fault of chance befalls the next request?

It must not know the request: chance doesn't look. The same seed gives the same series.
"""

from __future__ import annotations

import random

from batchscore.simulator.script import Behaviour
from batchscore.simulator.settings import SimulatorSettings


class Chance:
    """Draws a behaviour a request, by the shares in the settings, and its latency."""

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
        """Give what goes wrong, None mostly."""
        if not self._any:
            return None
        left = self._random.random()
        for share, behaviour in self._table:
            left -= share
            if left < 0:
                return behaviour
        return None

    def latency(self) -> float:
        """Give seconds to wait before an answer."""
        jitter = self._settings.latency_jitter
        return self._settings.latency + (jitter * self._random.random() if jitter else 0.0)
