"""A faithful Azure OpenAI and OpenAI server on loopback, for rehearsals and tests.

It imports no other part of batchscore, so that one error cannot hide on both sides. Its import loads
neither aiohttp nor numpy, which only the server's own process needs.
"""

from __future__ import annotations

from batchscore.simulator.process import Running, run, start
from batchscore.simulator.settings import SimulatorSettings

__all__ = ["Running", "SimulatorSettings", "run", "start"]
