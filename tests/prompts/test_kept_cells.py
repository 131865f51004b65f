"""Rows of many texts are kept in one text, and come back as they were."""

from __future__ import annotations

from typing import Any

import pytest

from batchscore.output.records.columnar import score_table
from batchscore.output.records.json_value import json_bytes
from batchscore.output.records.jsonl import encode_scores, row_to_json
from batchscore.output.records.schema import RecordSchema
from batchscore.prompts.kept_cells import (
    LEAST_CELLS,
    KeptCells,
    digest_of_cells,
    memory_of_cells,
    packed,
    unpacked,
)
from batchscore.rows import Score, Settled

MANY = {f"column {number}": f"é {number}" for number in range(LEAST_CELLS)}


def test_many_texts_are_packed_and_come_back_in_order() -> None:
    found = packed(MANY, tuple(MANY))
    assert isinstance(found, KeptCells)
    assert list(unpacked(found).items()) == list(MANY.items())
    assert dict(found) == MANY
    assert len(found) == len(MANY)
    assert digest_of_cells(found) == digest_of_cells(MANY)
    assert memory_of_cells(found) * 10 < memory_of_cells(MANY)


@pytest.mark.parametrize(
    "cells",
    [
        {"few": "texts"},
        MANY | {"column 3": None},
        MANY | {"column 3": 3},
        MANY | {"column 3": "a zero\0byte"},
        {name: MANY[name] for name in reversed(MANY)},
        {},
    ],
)
def test_other_rows_stay_as_they_are(cells: dict[str, Any]) -> None:
    assert packed(cells, tuple(MANY)) is cells
    assert unpacked(cells) is cells


def test_a_journal_and_records_hold_the_same_cells() -> None:
    one, other = (
        Settled("a.csv", 0, Score("x", finish_reason="stop"), None, kept)
        for kept in (packed(MANY, tuple(MANY)), MANY)
    )
    assert json_bytes(row_to_json(one)) == json_bytes(row_to_json(other))
    schema = RecordSchema("chat", keep=None)
    assert b"".join(encode_scores([one], schema)) == b"".join(encode_scores([other], schema))
    kept = RecordSchema("chat", keep=tuple(MANY))
    expected = score_table([other, other], kept)
    for rows in ([one, one], [other, one], [one, other]):
        assert score_table(rows, kept).equals(expected)
