"""How does a command read `-`, its standard input?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings


@contextmanager
def input_files(inputs: Sequence[str], settings: Settings) -> Iterator[Sequence[str]]:
    """Give the INPUTs, with a temporary file in place of `-`."""
    if "-" not in inputs:
        yield inputs
        return
    from batchscore.plan.survey import named_columns, read_options  # noqa: PLC0415 - loads the readers
    from batchscore.run.standard_input import with_standard_input  # noqa: PLC0415

    options = read_options(settings)
    chosen, named = settings.stdin_format, named_columns(settings)
    stream = sys.stdin.buffer if sys.stdin is not None else None  # as after <&-
    with with_standard_input(inputs, stream, chosen, named, options) as files:
        yield files
