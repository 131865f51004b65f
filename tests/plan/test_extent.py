"""How much is read: stretches of lines are whole lines, and shares stay within what may be read."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batchscore.plan.extent import Budget, CutFile, Stretches, cut_file, shares
from batchscore.read.input_file import InputFile

SIZES = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)


def a_file(name: str, size: int) -> InputFile:
    return InputFile(Path(name), name, Path(name).suffix, None, size)


@given(st.lists(st.text("ab", max_size=9)), st.integers(0, 60), st.integers(1, 40))
def test_stretches_of_lines_are_whole_lines_of_the_file(lines: list[str], first: int, length: int) -> None:
    numbered = [f"{number}{line}\n" for number, line in enumerate(lines)]
    data = "".join(numbered).encode()
    spans = [(0, length), (length + first, 2 * length + first)]
    file = CutFile(Path("a"), "a", ".txt", None, len(data), stretches=tuple(spans), at_lines=True)
    found = Stretches(io.BytesIO(data), file).read()  # type: ignore[arg-type]
    assert file.given["bytes"] == len(found)
    if b"\n" in data[: spans[0][1]]:
        got = found.decode().splitlines(keepends=True)
        assert set(got) <= set(numbered)
        assert got == sorted(got, key=numbered.index)


def test_a_text_whose_line_ends_have_several_bytes_is_cut_once() -> None:
    found = cut_file(replace(a_file("a.jsonl", 9000), encoding="utf-16-le"), 0.1)
    assert isinstance(found, CutFile)
    assert (found.stretches, found.at_lines, found.encoding) == (((0, 900),), False, "utf-16-le")


def test_lines_show_beginning_middle_and_end() -> None:
    found = cut_file(a_file("a.jsonl", 9000), 0.1)
    assert isinstance(found, CutFile)
    assert found.stretches == ((0, 300), (4350, 4650), (8700, 9000))
    quoted = cut_file(a_file("a.csv", 9000), 0.1)
    assert isinstance(quoted, CutFile)
    assert quoted.stretches == ((0, 900),)


@given(SIZES, st.integers(1, 10**8), st.integers(1, 10**6))
def test_what_is_read_stays_near_the_budget(sizes: list[int], sample: int, least: int) -> None:
    files = [a_file(f"{number}.csv", size) for number, size in enumerate(sizes)]
    budget = Budget(whole_bytes=2 * sample, sample_bytes=sample, least_bytes=least)
    found = shares(files, budget)
    assert all(0 <= share <= 1 for share in found)
    assert found[0] > 0
    if sum(sizes) <= 2 * sample:
        assert found == [1.0] * len(files)
    else:
        assert min(found) < 1 or sum(sizes) <= 4 * sample + least * len(files)
