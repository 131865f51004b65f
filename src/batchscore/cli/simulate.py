"""The command `batchscore simulate`: serve the simulated endpoint."""

from __future__ import annotations

import os
from typing import Any

import click

from batchscore.cli.options import OneValueEach, simulator_options
from batchscore.errors import SettingsError
from batchscore.simulator import SimulatorSettings
from batchscore.simulator import run as run_simulator


@click.command(short_help="Serve a simulated Azure OpenAI and OpenAI endpoint on loopback.", cls=OneValueEach)
@simulator_options
def simulate(**options: Any) -> None:
    """Serve a faithful simulation of Azure OpenAI and OpenAI on 127.0.0.1, to rehearse runs.

    The first line on standard output is JSON with the endpoint and the key. Nothing leaves this machine
    and nothing costs money. Vectors and answers are generated from the text, deterministically.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        settings = SimulatorSettings(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        run_simulator(settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"the simulator cannot listen on port {settings.port}: {reason}.") from None
