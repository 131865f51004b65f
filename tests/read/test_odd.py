"""Every file of tests/odd is read as the `.expected.json` beside it says."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from odd_cases import CASES
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


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_of_odd_file_has_its_tests(kind: str) -> None:
    for name in CASES[kind]:
        file, _, function = name.partition("::")
        if function:
            assert f"def {function}(" in (ODD.parent / file).read_text(), name
        else:
            assert name in NAMES


@pytest.mark.parametrize(
    "name",
    [
        *("comma-in-a-quoted-name.csv", "comma-in-a-name.csv", "pipes.csv", "pipes.tsv", "commas.tsv"),
        *("delimiter-at-the-end-of-rows.csv", "single-quotes.csv", "same-name-twice.csv"),
        *("semicolons.csv", "tabs.csv", "header-with-a-hash.csv", "path-at-the-end-of-a-quote.csv"),
        *("letters-over-several-lines.csv", "one-column-with-commas-in-cells.csv"),
    ],
)
def test_a_file_is_read_as_duckdb_reads_it(name: str) -> None:
    table = duckdb.connect().sql(f"select * from read_csv('{ODD / name}', all_varchar = true)")
    found = outcome(ODD / name)
    assert found.columns == tuple(table.columns)
    assert [tuple(cells.values()) for cells in found.cells] == [
        tuple(cell or "" for cell in row) for row in table.fetchall()
    ]
