"""A journal's content comes back as it was, whatever was cut off or changed behind it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import ErrorCode, OutputError
from batchscore.output.cost import Cost
from batchscore.output.journal import DIGEST_BYTES, MAX_OPEN, JournalEntry, Journals
from batchscore.output.journal_place import abandoned_folders, claim_folder
from batchscore.output.manifest_check import MOST
from batchscore.output.parts import OBJECT_FACTOR, ROW_BYTES, memory_of
from batchscore.rows import RowError, Score, Settled
from full_disk import largest_file
from hypothesis_profiles import examples

LENGTH = 3
VECTORS = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=LENGTH, max_size=LENGTH
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
ERRORS = st.builds(
    RowError, st.sampled_from(ErrorCode), TEXTS, st.none() | st.integers(400, 599), st.integers(0, 9)
)
SCORES = st.one_of(
    VECTORS.map(lambda numbers: Score(np.array(numbers, np.float32))),
    st.builds(Score, st.none() | TEXTS, st.none() | TEXTS, st.none() | st.just({"total_tokens": 3})),
    st.builds(Score, st.lists(st.none() | TEXTS, max_size=3), st.lists(st.none() | TEXTS, max_size=3)),
)
ENTRIES = st.builds(
    JournalEntry,
    st.builds(
        Settled,
        st.just("a/ü.csv"),
        st.integers(0, 50),
        SCORES | ERRORS,
        st.none() | TEXTS,
        st.dictionaries(TEXTS, st.none() | TEXTS | st.integers(-9, 9), max_size=2),
        st.booleans(),
    ),
    st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES),
)
BATCHES = st.lists(st.lists(ENTRIES, min_size=1, max_size=4), max_size=5)


def comparable_entry(entry: JournalEntry) -> tuple[Any, ...]:
    """Return an entry as values that can be compared; vectors as bytes."""
    settled, result = entry.settled, entry.settled.result
    if isinstance(result, Score):
        value = result.value.tobytes() if isinstance(result.value, np.ndarray) else result.value
        shown: Any = (value, result.finish_reason, result.usage, result.raw)
    else:
        shown = result
    return settled.file, settled.row, shown, settled.id, settled.kept, settled.truncated, entry.prompt_digest


def replayed(folder: Path, name: str = "part", identity: str = "settings") -> dict[int, tuple[Any, ...]]:
    journals = Journals(folder, identity)
    journals.find()
    found = {row: comparable_entry(entry) for row, entry in journals.replay(name).items()}
    journals.close()
    return found


def written(folder: Path, batches: list[list[JournalEntry]], name: str = "part") -> Journals:
    journals = Journals(folder, "settings")
    journals.find()
    for batch in batches:
        journals.append(name, batch)
    return journals


def expected(batches: list[list[JournalEntry]]) -> dict[int, tuple[Any, ...]]:
    return {entry.settled.row: comparable_entry(entry) for batch in batches for entry in batch}


def numbered(row: int) -> JournalEntry:
    return JournalEntry(Settled("a.csv", row, Score(np.float32([row, 1, 2]))), bytes(DIGEST_BYTES))


@settings(max_examples=examples(50))
@given(BATCHES)
def test_everything_comes_back(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[JournalEntry]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder, batches).close()
    assert replayed(folder) == expected(batches)


@settings(max_examples=examples(50))
@given(BATCHES.filter(bool), st.data())
def test_a_cut_costs_one_frame_and_the_journal_can_be_continued(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[JournalEntry]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "part.journal"
    journals = Journals(folder, "settings")
    ends = []
    for batch in batches:
        journals.append("part", batch)
        ends.append(path.stat().st_size)
    journals.close()
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    whole = [batch for batch, end in zip(batches, ends, strict=True) if end <= cut]
    again = Journals(folder, "settings")
    again.find()
    assert {row: comparable_entry(entry) for row, entry in again.replay("part").items()} == expected(whole)
    again.append("part", [numbered(99)])
    again.close()
    assert replayed(folder) == expected([*whole, [numbered(99)]])


@settings(max_examples=examples(50))
@given(BATCHES, st.sets(st.integers(0, 50)))
def test_the_rows_that_are_published_leave_and_the_others_stay(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[JournalEntry]], rows: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journals = written(folder, batches)
    journals.append("part", [], Cost(3, 2, 1))
    whole = (folder / "part.journal").read_bytes()
    journals.remove_rows("part", rows)
    left = {row: entry for row, entry in expected(batches).items() if row not in rows}
    assert [path.suffix for path in folder.glob("part*")] == [".unread" if left else ".free"]
    if left:
        again = Journals(folder, "settings")
        again.find()
        assert set(again.replay("part")) == set(left)
        (folder / "part.journal").write_bytes(whole)  # as a kill leaves it
        again.find()
        assert again.replay("part").keys() == expected(batches).keys()
        again.remove_rows("part", rows)
        journals.replay("part")
        journals.append("part", [numbered(99)])
        left |= expected([[numbered(99)]])
        journals.replay("part")
        assert journals.spent["part"] == Cost(), "the manifest has it now"
    journals.close()
    assert replayed(folder) == left
    assert [path.name for path in folder.glob("*")] == ["part.journal"] * bool(left)


@settings(max_examples=examples(50))
@given(BATCHES.filter(bool), st.data())
def test_a_changed_byte_never_becomes_an_answer(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[JournalEntry]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder, batches).close()
    path = folder / "part.journal"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = replayed(folder)
    assert any(found == expected(batches[:count]) for count in range(len(batches) + 1))


def test_a_cost_that_no_reader_can_hold_does_not_stop_a_run(tmp_path: Path) -> None:
    """A service may report any number of tokens; JSON of more than 64 bits is written as text."""
    journals = written(tmp_path, [])
    journals.append("part", [numbered(1)], Cost(2, 10**30, -1))
    journals.append("part", [numbered(2)], Cost(1, 2**63, 4))
    journals.close()
    again = written(tmp_path, [])
    assert set(again.replay("part")) == {1, 2}
    again.spent["part"].add(Cost(1, 2**70, 2**70))
    assert again.spent["part"] == Cost(4, MOST, MOST)


def test_results_of_another_kind_are_not_returned(tmp_path: Path) -> None:
    text = JournalEntry(Settled("a.csv", 2, Score("text")), bytes(DIGEST_BYTES))
    journals = written(tmp_path, [[numbered(1), text]])
    for answer, rows in (("vector", {1}), ("text", {2}), ("", {1, 2})):
        journals.answer = answer  # type: ignore[assignment]
        assert set(journals.replay("part")) == rows
    journals.close()


def test_a_journal_of_other_settings_or_another_part_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    written(folder, [[numbered(1)]]).close()
    (folder / "other.journal").write_bytes((folder / "part.journal").read_bytes())
    assert replayed(folder, "other") == {}
    assert replayed(folder, identity="other settings") == {}
    assert not folder.exists()


def test_more_parts_than_files_may_be_open(tmp_path: Path) -> None:
    journals = Journals(tmp_path, "settings")
    for row in (1, 2):
        for part in range(MAX_OPEN + 9):
            journals.append(f"part-{part}", [numbered(row)])
    assert len(journals.open) <= MAX_OPEN
    for part in range(MAX_OPEN + 9):
        assert set(journals.replay(f"part-{part}")) == {1, 2}
        journals.remove(f"part-{part}")
    journals.close()
    assert not tmp_path.exists()


def test_a_journal_stays_open_while_another_thread_opens_many(tmp_path: Path) -> None:
    """Otherwise its file's number is that of another one before the frame is written."""
    journals = Journals(tmp_path, "settings")

    class Slow(list[JournalEntry]):
        """Entries, while whose frame is made, another thread writes to many journals."""

        def __iter__(self) -> Iterator[JournalEntry]:
            if len(journals.open) == 1:
                others = threading.Thread(target=write_to_others)
                others.start()
                others.join()
            return super().__iter__()

    def write_to_others() -> None:
        for part in range(MAX_OPEN + 9):
            journals.append(f"part-{part}", [numbered(1)])

    journals.append("mine", Slow([numbered(5)]))
    assert set(journals.replay("mine")) == {5}
    assert all(set(journals.replay(f"part-{part}")) == {1} for part in range(MAX_OPEN + 9))
    journals.close()


def test_no_other_user_can_read_a_journal(tmp_path: Path) -> None:
    written(tmp_path / "deep", [[numbered(1)]]).close()
    assert (tmp_path / "deep" / "part.journal").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep").stat().st_mode & 0o077 == 0


def test_a_full_disk_raises_and_earlier_entries_come_back(tmp_path: Path) -> None:
    journals = written(tmp_path / "journal", [])

    def append() -> None:
        for row in range(100):
            journals.append("part", [numbered(row)])

    with largest_file(1000), pytest.raises(OutputError, match="cannot write"):
        append()
    journals.close()
    found = replayed(tmp_path / "journal")
    assert 3 < len(found) < 20
    assert set(found) == set(range(len(found)))


def test_a_folder_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        written(tmp_path / "file" / "journal", [[numbered(1)]])


@pytest.mark.parametrize("planted", ["folder", "journal"])
def test_no_journal_is_written_or_read_through_a_link(tmp_path: Path, planted: str) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "journals"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kept.write_bytes(b"kept")
    if planted == "folder":
        folder.symlink_to(elsewhere)
        (elsewhere / "x.free").write_bytes(b"kept")
    else:
        folder.mkdir()
        (folder / "part.journal").symlink_to(kept)
    entry = JournalEntry(Settled("a", 0, Score("x"), None, {}, truncated=False), bytes(DIGEST_BYTES))
    journals = Journals(folder, "settings")
    with pytest.raises(OutputError, match="it is a link, and nothing in an output is read or written"):
        journals.append("part", [entry])
    journals.present.add("part")
    with pytest.raises(OutputError, match="it is a link, and nothing in an output is read or written"):
        journals.find() if planted == "folder" else journals.replay("part")
    assert kept.read_bytes() == b"kept"
    assert [path.name for path in elsewhere.iterdir()] == ["x.free"] * (planted == "folder")


def test_an_answer_of_any_depth_in_a_journal_of_an_earlier_run_is_counted(tmp_path: Path) -> None:
    """Such a run could not resume: its journal held an answer that orjson alone cannot write."""
    value: Any = "x" * 100
    for _ in range(300):
        value = {"a": value}
    settled = Settled("a.csv", 0, Score(value, "stop"))
    journals = written(tmp_path, [[JournalEntry(settled, bytes(DIGEST_BYTES))]])
    again = journals.replay("part")[0].settled
    assert memory_of(again) > 100
    assert memory_of(Settled("a.csv", 0, Score({"a": 1}, "stop", size=9))) == ROW_BYTES + 9 * OBJECT_FACTOR
    journals.close()


def test_a_folder_of_journals_may_vanish_while_it_is_looked_through(tmp_path: Path) -> None:
    """A worker that ends removes it if it is empty, while others begin or look for what killed ones left."""
    home, ended = tmp_path / "scratch" / "journals", threading.Event()

    def work() -> int:
        for _ in range(60):
            claim_folder(home).release()
        return 60

    def look() -> int:
        found = 0
        while not ended.is_set():
            found += len(list(abandoned_folders(home)))
        return found

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        working = [pool.submit(work) for _ in range(2)]
        try:
            assert [each.result() for each in working] == [60, 60]
        finally:
            ended.set()
        assert [each.result() for each in looking] == [0, 0]
    assert not home.exists()
