"""A faithful Azure OpenAI and OpenAI server on loopback, for rehearsals and tests.

It imports no other part of batchscore, so that one error cannot hide on both sides. Its import loads
neither aiohttp nor numpy, which only the server's own process needs.
"""

from __future__ import annotations

from batchscore.simulator.process import Running, run, start
from batchscore.simulator.remote import Deployment, DeploymentStatistics, SentRequest
from batchscore.simulator.script import Behaviour
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.words import (
    CONTENT_FILTER_TRIGGER,
    EMPTY_REPLY_TRIGGER,
    FILTERED_REPLY_TRIGGER,
    PARTLY_FILTERED_REPLY_TRIGGER,
)

__all__ = [
    "CONTENT_FILTER_TRIGGER",
    "EMPTY_REPLY_TRIGGER",
    "FILTERED_REPLY_TRIGGER",
    "PARTLY_FILTERED_REPLY_TRIGGER",
    "Behaviour",
    "Deployment",
    "DeploymentStatistics",
    "Running",
    "SentRequest",
    "SimulatorSettings",
    "run",
    "start",
]
