"""Every file of tests/odd is read as the `.expected.json` beside it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from read_samples import outcome

ODD = Path(__file__).parent.parent / "odd"
EXPECTED = ".expected.json"
NAMES = sorted(path.name.removesuffix(EXPECTED) for path in ODD.glob(f"*{EXPECTED}"))


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_file_gives_what_its_expectation_says(name: str) -> None:
    expected = json.loads((ODD / f"{name}{EXPECTED}").read_text())
    found = outcome(ODD / name, **expected.get("options", {}))
    if expected["problem"] is None:
        assert found.problem is None
    else:
        assert expected["problem"] in (found.problem or "")
    assert [[number, values] for number, values in found.rows] == expected["rows"]
    assert [[number, code] for number, code in found.unreadable] == expected["unreadable"]
    assert list(found.columns) == expected["columns"]
    assert list(found.text_columns) == expected.get("text_columns", expected["columns"])
    assert found.headerless is expected.get("headerless", False)
    if "notes" in expected:
        assert list(found.notes) == expected["notes"]


def test_every_odd_file_has_its_expectation() -> None:
    others = {path.name for path in ODD.iterdir() if path.is_file() and not path.name.startswith(".")}
    others -= {"make_odd.py", *NAMES, *(name + EXPECTED for name in NAMES)}
    assert not others
    assert len(NAMES) > 100
