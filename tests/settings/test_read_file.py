"""A file that a setting names is read if it ends: no pipe without a writer, and no device."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from batchscore.endpoint.gateway import ClientCertificate
from batchscore.errors import SettingsError, UsageError
from batchscore.prompts.prompt import parse_messages
from batchscore.settings.config_file import read_toml
from batchscore.settings.json_schema import schema_document
from batchscore.settings.prices import read_prices
from batchscore.settings.read_file import read_file
from batchscore.settings.sources import parse_param_flags
from batchscore.task import CHAT

READERS: dict[str, Callable[[str], object]] = {
    "messages": partial(parse_messages, task=CHAT),
    "schema": schema_document,
    "config": lambda name: read_toml(Path(name), name),
    "prices": read_prices,
    "param": lambda name: parse_param_flags([f"a=@{name}"]),
    "client_cert": lambda name: ClientCertificate(name, name).load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_pipe_a_device_and_a_loop_are_named(reader: Callable[[str], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in {
        str(tmp_path / "pipe"): "it is not a regular file; write its data to a file first",
        "/dev/zero": "it is not a regular file",
        str(tmp_path / "loop"): "Too many levels of symbolic links",
        str(tmp_path): "Is a directory",
        str(tmp_path / ("n" * 300)): "File name too long",
        "a\0b": "no file can have this name",
        "\ud800": "no file can have this name",
    }.items():
        with pytest.raises((SettingsError, UsageError), match=reason):
            reader(path)


def test_what_a_shell_gives_is_read() -> None:
    assert read_file(os.devnull) == b""
    out, into = os.pipe()
    os.write(into, b"data")
    os.close(into)
    assert read_file(f"/dev/fd/{out}") == b"data"
    os.close(out)
