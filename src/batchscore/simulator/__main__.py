"""What does `python -m batchscore.simulator` take?

It must not know the settings by name: flags, help and bounds come from `SimulatorSettings`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from batchscore.simulator.process import run
from batchscore.simulator.settings import SimulatorSettings, flag_of, split_names


def parse_arguments(arguments: Sequence[str] | None = None) -> SimulatorSettings:
    """Give the settings that a command line means; exits with 2 and the reason where it can't."""
    parser = argparse.ArgumentParser(
        prog="python -m batchscore.simulator",
        description="Serve made-up answers in the manner of Azure OpenAI and OpenAI, on this machine only.",
        allow_abbrev=False,
    )
    for item in fields(SimulatorSettings):
        shared = {"dest": item.name, "default": item.default, "help": item.metadata["help"]}
        if item.metadata["kind"] is bool:
            parser.add_argument(flag_of(item), action=argparse.BooleanOptionalAction, **shared)
        elif item.metadata["many"]:
            shared["default"] = []
            parser.add_argument(flag_of(item), action="append", metavar="NAME", **shared)
        else:
            kind = item.metadata["kind"]
            parser.add_argument(flag_of(item), type=kind, metavar=kind.__name__.upper(), **shared)
    given = vars(parser.parse_args(arguments))
    for item in fields(SimulatorSettings):
        if item.metadata["many"]:
            given[item.name] = split_names(given[item.name])
    try:
        return SimulatorSettings(**given)
    except ValueError as error:
        parser.error(str(error))


def main() -> int:
    """Run until told to end; 1 with one line if the port is taken."""
    settings = parse_arguments()
    try:
        run(settings)
    except OSError as error:
        sys.stderr.write(f"The simulator cannot listen on port {settings.port}: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
