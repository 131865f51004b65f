"""Runs the command line in this process, as a shell would, without the cost of a process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from batchscore.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Command:
    """What runs commands."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Ran:
        self.monkeypatch.setattr(sys, "argv", ["batchscore", *words])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self.capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)
