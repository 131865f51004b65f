"""Which TOML file holds settings, and what is in it?

It reads files and knows no settings: `sources` gives the keys their meaning. The file is named by a flag, or
by the variable BATCHSCORE_CONFIG at all doors. The command line also reads `batchscore.toml` from the working
directory.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.errors import SettingsError, UsageError, setting_name
from batchscore.settings.declare import CONFIG_FILE, CONFIG_VARIABLE
from batchscore.settings.read_file import read_file


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The settings in a file by their keys, and the name of the file as the user gave it.

    `digest` is that of the bytes which were read, empty if no file was. `is_implicit`: the file was found in
    the working directory, and nobody named it.
    """

    name: str = CONFIG_FILE
    settings: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    is_implicit: bool = False


#: The settings of no file.
EMPTY_FILE = ConfigFile()


def config_file(
    named: str | None, environ: Mapping[str, str], *, here: bool = False, folders: Sequence[str | Path] = ()
) -> ConfigFile:
    """Return the settings of the file that a flag or a variable names; empty if neither names one.

    `here`: if no file is named, `batchscore.toml` in the working directory is read if it exists. A relative
    path is looked up in `folders` first, then in the working directory. Raises `SettingsError` if the file
    cannot be read, and `UsageError` if it is not TOML.
    """
    by = setting_name("config")
    if named is None:
        named, by = environ.get(CONFIG_VARIABLE, "").strip() or None, CONFIG_VARIABLE
    if named is None and here and Path(CONFIG_FILE).is_file():
        named, by = CONFIG_FILE, ""
    if named is None:
        return EMPTY_FILE
    # An absolute path stays the same when it is joined to a folder.
    path = os.path.expanduser(named)  # noqa: PTH111
    candidates = (Path(folder, path) for folder in folders)
    file = next((each for each in candidates if each.is_file()), Path(path))
    beside_script = bool(folders) and not file.is_absolute()
    shown = f"{by} {named}".lstrip()
    # Read once: the content that is trusted is the content that is used.
    content = read_bytes(file, shown, beside_script=beside_script)
    digest = hashlib.sha256(content).hexdigest()
    return ConfigFile(named, parse_toml(content, shown), digest, is_implicit=not by)


def read_toml(file: Path, named: str, *, beside_script: bool = False) -> dict[str, Any]:
    """Return the content of a TOML file; raises `SettingsError` or `UsageError`, which call it `named`."""
    return parse_toml(read_bytes(file, named, beside_script=beside_script), named)


def read_bytes(file: Path, named: str, *, beside_script: bool) -> bytes:
    """Return a file's bytes; raises `SettingsError`, which calls the file `named`."""
    try:
        return read_file(file)
    except FileNotFoundError:
        where = " beside the scoring script" if beside_script else ""
        raise SettingsError(f"{named}: there is no such file{where}.") from None
    except OSError as error:
        raise SettingsError(f"{named} cannot be read: {error.strerror}.") from None


def parse_toml(content: bytes, named: str) -> dict[str, Any]:
    """Return what TOML says; raises `UsageError`, which calls the file `named`."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - few runs have such a file
    else:
        import tomli as tomllib  # noqa: PLC0415

    try:
        found: dict[str, Any] = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{named} is not TOML: {error}.") from None
    return found
