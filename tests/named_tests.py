"""Whether the tests that a table names exist, for the tests of the house."""

from __future__ import annotations

import re
from pathlib import Path


def find_test(named: str) -> bool:
    """Whether there is a test of this name: `folder/file.py::test`, or `folder/file.py::test[case]`.

    The file holds a case as a text of its own, such as the key of a table.
    """
    path, _, name = named.partition("::")
    test, _, case = name.removesuffix("]").partition("[")
    text = (Path(__file__).parent / path).read_text("utf-8")
    is_there = re.search(rf"^(async )?def {test}\(", text, re.MULTILINE) is not None
    return is_there and (not case or f'"{case}"' in text)
