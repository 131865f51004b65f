"""Which settings of a file that nobody named need the user's trust, and has the user given it?

A file that only lies in the working directory may say how rows are scored. Where requests go, and what signs
them, it may say only if the user trusts its content. This module asks nobody: the command line does. It knows
settings files by the digest of their bytes, so a file that has changed is a file that nobody trusts yet.
"""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from batchscore.errors import SettingsError, UsageError
from batchscore.settings.config_file import ConfigFile
from batchscore.settings.sources import NEED_TRUST, read_text

#: The settings that name a place to write to; one in a store is on another host.
PLACES = ("output", "scratch_dir", "base_dir")

#: The parameter that makes a service call another one (Azure OpenAI On Your Data), and the key of JSON
#: schemas whose address nobody calls.
CALLS_OTHERS, SCHEMA = "datasources", "$schema"

#: An address, also as lenient readers of URLs accept it: `https:host`, `//host`.
ADDRESS = re.compile(r"://|\bhttps?:\S|^\s*[/\\]{2}\S", re.IGNORECASE)

#: Keys of parameters whose texts name a place, and those of JSON schemas below which keys are other names.
PLACE_KEY = re.compile(
    r"url|uri|host|endpoint|callback|webhook|server|proxy|domain|connector|address|origin|href|redirect",
    re.IGNORECASE,
)
NAMES = {"properties", "patternProperties", "$defs", "definitions"}

#: A host without a scheme: with a path or a port, or as the whole text.
_NAME = r"(?:[^\W_][\w-]*\.)+"
HOST = re.compile(
    rf"{_NAME}(?:[^\W\d_]{{2,}}|\d+|xn--[\w-]+)\.?[/\\?#]|\b(?=[\w.-]*[^\W\d_]|\d+\.)[\w.-]*\w:\d+|"
    rf"\blocalhost\b[/\\?#]|^\s*localhost\s*$|\[[\da-f:.]*:[\da-f:.]*\]|^\s*{_NAME}[^\W\d_]{{2,}}\.?\s*$|^\s*\d+(\.\d+){{3}}\s*$",
    re.IGNORECASE,
)

#: Full stops between the parts of a host (IDNA, RFC 3490).
_FULL_STOPS = str.maketrans("\u3002\uff0e\uff61", "...")

#: Addresses in MLflow's store: a registered model's version or alias, a logged model, a run's artifact.
OF_MLFLOW = re.compile(r"(models|runs):/")

#: Values of `model` that are written as paths. Any other value is a name, though a folder may have it.
PATH = re.compile(r"/|~|\.{1,2}(/|$)|.*/$")

#: A template that is one cell: it can hold nothing of another one.
ONE_FIELD = re.compile(r"\s*\{[^{}]*\}\s*")


def settings_to_trust(
    given: Mapping[str, Any], sources: Mapping[str, str], file: ConfigFile
) -> dict[str, Any]:
    """Return the settings that decide about hosts or credentials and come from a file that nobody named.

    `given` and `sources` are what `gather` found: a setting that a flag or variable overrides is not there.
    """
    if not file.is_implicit:
        return {}
    of_file = {name: value for name, value in given.items() if sources.get(name) == file.name}
    found = {name: value for name, value in of_file.items() if name in NEED_TRUST and value}
    found |= {name: of_file[name] for name in PLACES if ADDRESS.search(of_file.get(name) or "")}
    model = of_file.get("model", "")
    # A saved model has parameters of its own. pathlib raises for names that no folder can have.
    if is_saved_model(model) and (is_address(model) or os.path.isdir(os.path.expanduser(model))):  # noqa: PTH111, PTH112
        found["model"] = model
    if of_file.get("track"):
        # Without MLFLOW_TRACKING_URI, files of the working folder say where MLflow uploads to.
        found["track"] = True
    params = of_file.get("param", {})
    found |= {f"param.{key}": value for key, value in params.items() if names_host({key: value})}
    if "messages" in of_file and any(map(names_place, parts_of(of_file["messages"]))):
        # A service fetches the images of messages, and a template can put cells into their addresses.
        found["messages"] = of_file["messages"]
    return found


def is_saved_model(model: str) -> bool:
    """Whether a value of `model` means an MLflow model, by its address or as a path, and no name."""
    return is_address(model) or PATH.match(model) is not None


def is_address(model: str) -> bool:
    """Whether a value of `model` is an address in MLflow's store."""
    return OF_MLFLOW.match(model) is not None


def parts_of(messages: str) -> list[Any]:
    """Return what messages hold besides text, from their JSON or its file; nothing if they cannot be read."""
    try:
        found = json.loads(messages if messages.lstrip()[:1] in {"[", "{"} else read_text(messages, ""))
    except (ValueError, RecursionError, UsageError):
        return []  # the run refuses them
    contents = (
        [one.get("content") for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    )
    parts = [
        part for each in contents if isinstance(each, list) for part in each if isinstance(part, Mapping)
    ]
    # Items of the Responses API without a role are the results of tools, which may be pictures.
    parts += [one for one in found if isinstance(one, Mapping) and "role" not in one]
    return [{key: value for key, value in part.items() if key not in {"type", "text"}} for part in parts]


def names_place(value: Any) -> bool:
    """Whether a part of a message holds an address, or a template that can become one with a cell in it."""
    if isinstance(value, (Mapping, list)):
        return any(map(names_place, value.values() if isinstance(value, Mapping) else value))
    if not isinstance(value, str) or value.lstrip().startswith("data:"):
        return False
    return names_host(value) or ("{" in value and ONE_FIELD.fullmatch(value) is None)


def names_host(value: Any) -> bool:
    """Whether a value holds an address or a host, or makes the service call another one."""
    if isinstance(value, Mapping):
        return any(key != SCHEMA and member_names_host(key, inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return any(map(names_host, value))
    if not isinstance(value, str):
        return False
    # Readers of addresses take other forms of letters and full stops for the usual ones, and undo `%3A`.
    forms = {value, unquote(unquote(unicodedata.normalize("NFKC", value).translate(_FULL_STOPS)))}
    return any(ADDRESS.search(form) or HOST.search(form) for form in forms)


def member_names_host(key: str, value: Any) -> bool:
    """Whether a key with its value names a host; the keys of a schema's properties are names of fields."""
    if re.sub(r"[\W_]", "", key).lower() == CALLS_OTHERS or (PLACE_KEY.search(key) and has_text(value)):
        return True
    if key in NAMES and isinstance(value, Mapping):
        return any(
            names_host(inner) if isinstance(inner, Mapping) else member_names_host(name, inner)
            for name, inner in value.items()
        )
    return names_host(value)


def has_text(value: Any) -> bool:
    """Whether a value holds any text."""
    if isinstance(value, (Mapping, list, tuple)):
        return any(map(has_text, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, str) and bool(value.strip())


def trust_file(environ: Mapping[str, str]) -> Path:
    """Return the file of trusted digests, in the user's folder for state (XDG Base Directory 0.8).

    Raises `SettingsError` if the user has no home folder.
    """
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        # A relative path must be ignored, as that specification says.
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            raise SettingsError("this user has no home folder") from None
    return state / "batchscore" / "trusted"


def is_trusted(file: ConfigFile, trusted: Path) -> bool:
    """Whether the user has trusted this content before; False if the file of digests cannot be relied on."""
    try:
        with open_private(trusted, os.O_RDONLY) as lines:
            return any(line.split(" ", 1)[0].strip() == file.digest for line in lines)
    except (SettingsError, OSError, ValueError):
        return False


def remember(file: ConfigFile, trusted: Path, where: str) -> None:
    """Add a file's digest, and for people where it was; raises `SettingsError` if that is not possible."""
    try:
        trusted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_private(trusted, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as lines:
            lines.write(f"{file.digest}  {where!a}\n")
    except OSError as error:
        raise SettingsError(f"{trusted} cannot be written: {error.strerror}") from None


@contextmanager
def open_private(path: Path, flags: int) -> Iterator[IO[str]]:
    """Open a file of this user that nobody else can write; raises `SettingsError` or `OSError`."""
    # Neither a link nor a pipe is followed or waited for.
    careful = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
    number = os.open(path, flags | careful, 0o600)
    with open(number, "r" if flags == os.O_RDONLY else "a", encoding="utf-8") as file:  # noqa: PTH123 - a number
        facts = os.fstat(number)
        of_others = hasattr(os, "geteuid") and facts.st_uid != os.geteuid()
        writable = os.name == "posix" and facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(facts.st_mode) or of_others or writable:
            raise SettingsError(f"{path} is not a private file of this user; remove it")
        yield file
