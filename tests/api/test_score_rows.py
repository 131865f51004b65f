"""The engine from Python: any iterable in, results out, with and without an event loop."""

from __future__ import annotations

import asyncio
import gc
import queue
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from batchscore import ErrorCode, InputError, Scored, SettingsError, UsageError, score_rows, stream_rows
from batchscore.api.score_rows import received
from pictures import KINDS
from simulated import Deployment

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("endpoint")]


def test_a_plain_call_gives_a_result_for_each_row(deployment: Deployment) -> None:
    rows = (f"row {row}" for row in range(40))
    results = sorted(
        score_rows(rows, task="embeddings", model=deployment.name, dimensions=8), key=lambda one: one.row
    )
    assert [one.row for one in results] == list(range(40))
    assert {one.value.shape for one in results} == {(8,)}
    assert all(one.error is None for one in results)


def test_rows_may_be_mappings_with_a_template_and_a_bad_one_is_a_result(deployment: Deployment) -> None:
    rows = [{"q": "the tide", "n": 1}, {"q": "", "n": 2}, {"n": 3}]
    results = {
        one.row: one for one in score_rows(rows, task="chat", model=deployment.name, prompt="Explain {q}")
    }
    assert "tide" in results[0].value
    assert {row: one.error.code for row, one in results.items() if one.error} == {
        1: ErrorCode.EMPTY_INPUT,
        2: ErrorCode.MISSING_COLUMN,
    }


def test_it_works_while_an_event_loop_is_running_too(deployment: Deployment) -> None:
    async def notebook() -> tuple[int, int]:
        plain = list(score_rows(["one", "two"], task="chat", model=deployment.name))
        streamed = [one async for one in stream_rows(["one", "two"], task="chat", model=deployment.name)]
        return len(plain), len(streamed)

    assert asyncio.run(notebook()) == (2, 2)


def test_rows_are_read_only_as_needed(deployment: Deployment) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"row {taken}"

    results = score_rows(endless(), task="chat", model=deployment.name)
    first = [next(results) for _ in range(100)]
    results.close()
    assert len({one.row for one in first}) == 100
    assert taken < 20_000

    async def stop_early() -> Scored:
        async for one in stream_rows(endless(), task="chat", model=deployment.name):
            return one
        raise AssertionError

    assert asyncio.run(stop_early()).error is None


def test_no_rows_give_no_results(deployment: Deployment) -> None:
    assert list(score_rows([], task="chat", model=deployment.name)) == []


def test_wrong_arguments_raise_at_the_call(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="rows_per_part is not a setting of this function"):
        score_rows(["a"], task="chat", model="m", rows_per_part=3)
    with pytest.raises(UsageError, match="row 1 is int"):
        list(score_rows(["a", 1], task="chat", model=deployment.name))  # type: ignore[list-item]
    with pytest.raises(InputError, match="no column 'b'"):
        list(score_rows([{"a": "x"}], task="chat", model=deployment.name, column="b"))
    with pytest.raises(UsageError, match=r"^messages is a list; it must be text\.$"):
        score_rows(["a"], task="chat", model="m", messages=[{"role": "user"}])  # type: ignore[arg-type]
    Path("b.toml").write_text('via = "batch"\nno_wait = true\n')
    for variable, value in (("BATCHSCORE_VIA", "batch"), ("BATCHSCORE_CONFIG", "b.toml")):
        monkeypatch.setenv(variable, value)
        with pytest.raises(UsageError, match='via="batch" is for files, not for rows in memory'):
            score_rows(["a"], task="chat", model="m")
        monkeypatch.delenv(variable)
    with pytest.raises(UsageError, match=r'via="batch" is for files.*score_files'):
        score_rows(["a"], task="chat", model="m", via="batch")  # type: ignore[call-arg]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(SettingsError, match="No endpoint is set"):
        list(score_rows(["a"], task="chat", model="m"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("abc", "rows is a single str; give an iterable of rows"),
        ({"text": "a"}, "rows is a single dict"),
        (pd.DataFrame({"text": ["a"]}), r'give rows.to_dict\("records"\)'),
        (7, "rows is int, which cannot be iterated"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_iterable_of_letters_or_names_is_refused(deployment: Deployment, rows: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list(score_rows(rows, task="chat", model=deployment.name))
    assert deployment.statistics().count == 0


def test_an_asynchronous_iterable_is_refused(deployment: Deployment) -> None:
    async def rows() -> AsyncIterator[str]:
        yield "one"

    async def stream() -> list[Scored]:
        given: Any = rows()
        return [one async for one in stream_rows(given, task="chat", model=deployment.name)]

    with pytest.raises(UsageError, match="rows is asynchronous"):
        asyncio.run(stream())


def test_none_is_an_empty_row(deployment: Deployment) -> None:
    rows: Any = [None, "one", None, float("nan"), "two"]
    results = {one.row: one for one in score_rows(rows, task="chat", model=deployment.name)}
    codes = {row: one.error.code for row, one in results.items() if one.error is not None}
    assert codes == dict.fromkeys((0, 2, 3), ErrorCode.EMPTY_INPUT)
    assert results.keys() == set(range(5))
    assert deployment.statistics().count == 2


def test_errors_name_arguments_and_not_flags() -> None:
    with pytest.raises(UsageError, match=r"^task must be one of"):
        score_rows(["a"], task="chatt", model="m")
    with pytest.raises(UsageError, match=r"^max_tokens is 0; it must be at least 1"):
        score_rows(["a"], task="chat", model="m", max_tokens=0)
    with pytest.raises(InputError, match=r"no column 'b' \(column\)"):
        list(score_rows([{"a": "x"}], task="chat", model="m", column="b", simulate=True))


def test_cells_without_a_name_are_not_columns(deployment: Deployment) -> None:
    rows: list[Any] = [{"text": "one", None: ["more"], 1: "x"}, {"text": "two", None: ["more"]}]
    found = list(score_rows(rows, task="chat", model=deployment.name, column="text"))
    assert [each.error for each in found] == [None, None]
    with pytest.raises(UsageError, match="the names of a row's columns must be text"):
        list(score_rows([{0: "one"}], task="chat", model=deployment.name))


def test_an_error_of_the_callers_iterable_is_raised(deployment: Deployment) -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller") as raised:
        list(score_rows(broken(), task="chat", model=deployment.name))
    names = [frame.name for frame in raised.traceback]
    assert (names.count("take"), names.count("broken")) == (2, 1), "the engine's and the packer's, once each"


def test_closing_does_not_wait_for_hanging_requests(deployment: Deployment) -> None:
    deployment.will_be_slow(0.01)
    deployment.will_hang(60.0, times=None)
    results = score_rows((f"row {row}" for row in range(40)), task="chat", model=deployment.name)
    next(results)
    results.close()


def test_an_unclosed_generator_may_be_collected_in_its_own_thread(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are iterated in the thread that must not wait for itself."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    dropped, swept = threading.Event(), threading.Event()

    def rows() -> Iterator[str]:
        for row in range(100_000):
            if dropped.is_set() and not swept.is_set():
                gc.collect()
                swept.set()
            yield f"row {row}"

    holder: list[object] = [score_rows(rows(), task="chat", model=deployment.name)]
    next(holder[0])  # type: ignore[call-overload]
    holder.append(holder)
    gc.disable()
    try:
        del holder
        dropped.set()
        assert swept.wait(50)
    finally:
        gc.enable()
    assert unraisable == []


def test_messages_may_be_json_and_have_the_text_field(deployment: Deployment) -> None:
    messages = '[{"role": "user", "content": "Sing of {animal}"}]'
    given: dict[str, Any] = {"task": "chat", "model": deployment.name, "text_field": "animal"}
    list(score_rows([{"body": "a cat"}], messages=messages, **given))
    (asked,) = deployment.requests()
    assert asked.body["messages"] == [{"role": "user", "content": "Sing of a cat"}]
    with pytest.raises(UsageError, match="text_field names a field of a template"):
        list(score_rows(["a"], **given))
    with pytest.raises(UsageError, match="text_field animal: the template's fields are plant"):
        list(score_rows([{"plant": "a"}], prompt="{plant}", **given))


def test_the_rows_of_a_frame_have_arrays_as_lists_and_missing_values_as_nothing(
    deployment: Deployment,
) -> None:
    conversation = np.array([{"role": "user", "content": "Say one.", "name": None}], object)
    frame = pd.DataFrame(
        {
            "messages": [conversation, None],
            "tags": [np.array(["sea", "tide"], object), pd.NA],
            "n": [1, pd.NaT],
        }
    )
    rows: Any = frame.to_dict("records")
    results = {one.row: one for one in score_rows(rows, task="chat", model=deployment.name)}
    assert "one" in results[0].value
    assert results[1].error is not None
    assert results[1].error.code is ErrorCode.EMPTY_INPUT
    deployment.reset()
    prompt = "Tags: {tags}"
    found = {one.row: one for one in score_rows(rows, task="chat", model=deployment.name, prompt=prompt)}
    assert found[0].error is None
    assert deployment.requests()[0].body["messages"][0]["content"] == 'Tags: ["sea","tide"]'
    assert found[1].error is not None
    texts: Any = pd.Series(["The tide turns", None, "A rope"], dtype="string")
    errors = [one.error for one in score_rows(texts, task="chat", model=deployment.name)]
    assert sorted(error.code for error in errors if error is not None) == [ErrorCode.EMPTY_INPUT]


def test_images_are_bytes_paths_of_the_caller_or_names_below_the_current_folder(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    image = KINDS["png"]
    (here / "a.png").write_bytes(image)
    (tmp_path / "b.png").write_bytes(image)
    cells = [image, "a.png", tmp_path / "b.png", ["a.png", image], "../b.png", str(tmp_path / "b.png"), None]
    found = {
        one.row: one.error
        for one in score_rows(
            [{"photo": cell} for cell in cells],
            task="responses",
            model=deployment.name,
            image="photo",
            prompt="Describe",
        )
    }
    assert [row for row, error in found.items() if error is None] == [0, 1, 2, 3]
    for row in (4, 5):
        error = found[row]
        assert error is not None
        assert error.code is ErrorCode.UNREADABLE_IMAGE
        assert "outside the current folder; give a pathlib.Path" in error.message
    assert found[6] is not None
    assert found[6].code is ErrorCode.EMPTY_INPUT


class Interrupted(queue.Queue[Any]):
    """Ctrl-C comes when the first item has left the queue and has not reached its reader."""

    begun = False

    def get(self, *given: Any, **named: Any) -> Any:
        item = super().get(*given, **named)
        if not self.begun:
            self.begun = True
            raise KeyboardInterrupt
        return item


@pytest.mark.parametrize("last", [None, UsageError("the end")])
@pytest.mark.parametrize("before", [[], [[Scored(0)], [Scored(1)]]])
def test_control_c_at_any_item_ends_the_reading(before: list[Any], last: Any) -> None:
    """Also if it takes the item that says that the work has ended."""
    waiting, stopped = Interrupted(), list[bool]()
    thread = threading.Thread(target=lambda: [waiting.put(item) for item in [*before, last]])
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(received(waiting, thread, lambda: stopped.append(True)))
    thread.join()
    assert stopped == [True]
