"""Which settings file does a command use, and does the user trust it?

A `batchscore.toml` that only lies in the working directory is asked about, once, if it decides where requests
go or what signs them; without a terminal it is refused. What needs trust is decided in `settings.trust`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from batchscore.errors import SettingsError
from batchscore.settings.checks import check_deployments
from batchscore.settings.config_file import ConfigFile, config_file
from batchscore.settings.secrets import shown_settings, shown_words
from batchscore.settings.sources import gather
from batchscore.settings.trust import is_trusted, remember, settings_to_trust, trust_file
from batchscore.stores.address import shell_command


def settings_file(config: str | None, flags: Mapping[str, Any]) -> ConfigFile:
    """Return the settings file of a command; raises `SettingsError` if the user must trust it first."""
    file = config_file(config, os.environ, here=True)
    decisive = settings_to_trust(*gather(flags, environ=os.environ, file=file), file)
    if not decisive:
        return file
    check_deployments(decisive.get("deployments", ()), rates=False)
    try:
        trusted, problem = trust_file(os.environ), None
    except SettingsError as error:
        trusted, problem = Path(os.devnull), error
    if problem is None and is_trusted(file, trusted):
        return file
    names = ", ".join("[[deployments]]" if name == "deployments" else ascii(name)[1:-1] for name in decisive)
    reason = f"./{file.name} decides where requests go or what signs them ({names}), and nobody named it."
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingsError(f"{reason} {how_to_name(file)}")
    click.echo("\n".join([reason, *setting_lines(decisive)]), err=True)
    if not click.confirm("Do you trust this file? You are asked again when the file changes.", err=True):
        raise SettingsError(f"./{file.name} is not trusted, so nothing was sent. {how_to_name(file)}")
    try:
        if problem is not None:
            raise problem
        remember(file, trusted, os.path.abspath(file.name))  # noqa: PTH100 - links in it are not resolved
    except SettingsError as error:
        click.echo(f"The answer cannot be remembered: {error}.", err=True)
    return file


def how_to_name(file: ConfigFile) -> str:
    """Return the sentence with the command that names the file."""
    words = sys.argv[1:]
    command = shell_command(shown_words(["batchscore", *words[:1], "--config", file.name, *words[1:]]))
    return f"Read the file. If you trust it, name it: {command}"


def setting_lines(decisive: Mapping[str, Any]) -> list[str]:
    """Return a line for each of a file's settings, without secrets; what a terminal would obey is escaped."""
    lines = []
    for name, value in shown_settings(decisive).items():
        if name == "deployments":
            for number, table in enumerate(value, 1):
                pairs = ", ".join(f"{key} = {each!a}" for key, each in table.items())
                lines.append(f"  [[deployments]] {number}: {pairs}")
        elif name.startswith("param."):
            lines.append(f"  {ascii(name)[1:-1]}")  # its value may hold a secret
        else:
            lines.append(f"  {name} = {value!a}")
    return lines
