"""An honest Azure OpenAI and OpenAI server on loopback, to rehearse with and to test against.

It imports nothing else of batchscore, so that one error can't hide on both sides; and importing it
brings in neither aiohttp nor numpy, which only the server's own process needs.
"""

from __future__ import annotations

from batchscore.simulator.process import Running, run, start
from batchscore.simulator.remote import Deployment, Sent, Statistics
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
    "Running",
    "Sent",
    "SimulatorSettings",
    "Statistics",
    "run",
    "start",
]
