"""A plain file is recognized without a look at each record, and read as any other one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UnreadableFile, name_settings
from batchscore.read.dialect import Dialect, find_dialect
from batchscore.read.header import divider_doubt
from batchscore.read.input_file import ReadOptions


def found(sample: str, options: ReadOptions, own: str) -> Dialect | None:
    try:
        return find_dialect("a.csv", sample, options, own=own, cut=False)
    except UnreadableFile:
        return None


@given(
    st.lists(st.text("ab1 .,;\t|\"'\\#=\r\n", max_size=6), min_size=1, max_size=6),
    st.sampled_from([",", "\t"]),
)
def test_a_plain_file_is_read_as_if_its_dialect_was_searched(lines: list[str], own: str) -> None:
    """A setting that changes nothing makes the search necessary."""
    sample = "\n".join(lines)
    searched = found(sample, ReadOptions(escape="none"), own)
    plain = found(sample, ReadOptions(), own)
    if plain is None or plain.escape is None:
        assert plain == searched


def test_a_line_that_names_the_delimiter_may_follow_blank_ones() -> None:
    for sample in ("sep=,\na,b\n1,2\n", "  \nsep=,\na,b\n1,2\n", "\n sep=,\na,b\n"):
        assert found(sample, ReadOptions(), ",") == found(sample, ReadOptions(escape="none"), ",")


def test_lines_with_as_many_delimiters_are_plain() -> None:
    for sample in ("id,text\n1,some words\n2,é\n", "id,text\r\n\r\n1,x", "a,b,\n1,2,\n", "a,b"):
        plain = found(sample, ReadOptions(), ",")
        assert plain == Dialect(",", ",")
        assert plain == replace(found(sample, ReadOptions(quote='"'), ",") or plain, sure=False)


@pytest.mark.parametrize(
    ("sample", "sign"),
    [
        ("id^text\n1^a\n2^b\n", "^"),
        ("id\x01text\n1\x01a\n", "\x01"),
        ("id\uff0ctext\n1\uff0ca\n", "\uff0c"),
        ('"id,text"\n"1,a"\n', ","),
        ('"id,""text"""\n"1,""a, b"""\n', ","),
        ('"id;text"\n"1;a"\n', ";"),
        ("id^text\n1^a\nb\n", ""),
        ("id^text\n", ""),
        ("pros/cons\nall good\ngood/bad\n", ""),
        ("user.id\na.b\n", ""),
        ("text^\na^\n", ""),
        ("text\na^b\n", ""),
    ],
)
def test_a_sign_that_may_divide_the_only_column(sample: str, sign: str) -> None:
    dialect = found(sample, ReadOptions(), ",")
    assert dialect is not None
    assert dialect.divider == sign
    for own in ({"delimiter": ","}, {"quote": '"'}, {"no_header": True}):
        named = found(sample, ReadOptions(**own), ",")
        assert named is None or named.divider == ""


@pytest.mark.parametrize(
    ("sign", "what"),
    [
        ("", ""),
        ("^", "has '^', which may divide cells: if it does, give --delimiter '^'"),
        ("\x01", r"has '\x01', which may divide cells: if it does, give --delimiter $'\x01' in bash"),
        (";", "is one quoted cell that seems to hold several"),
    ],
)
def test_what_is_said_of_such_a_sign(sign: str, what: str) -> None:
    doubt = name_settings(divider_doubt(sign), lambda name: f"--{name}")
    assert doubt.removeprefix("Each of its lines ").startswith(what)
    assert bool(doubt) == bool(sign)
