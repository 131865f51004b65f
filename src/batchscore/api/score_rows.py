"""Score rows from Python: how does any iterable of rows become a stream of results, without files?

`stream_rows` is for asynchronous code, `score_rows` for all other code; a notebook may use either. Both keep
the promises of a run over files: each row gets one result, rate limits are respected, and outages are waited
out. Memory is bounded: rows are read when they can be sent, and only as fast as results are read.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.endpoint.target import endpoints_of, start_simulator
from batchscore.engine.open import open_engine
from batchscore.errors import UsageError, setting_name
from batchscore.mlflow_model.resolve import settings_without_output
from batchscore.prompts.cells import is_blank
from batchscore.prompts.image_header import MOST_IMAGE_BYTES
from batchscore.prompts.prompt import PromptBuilder, builder_for, parse_spec, text_column
from batchscore.prompts.template import NO_TEXT
from batchscore.rows import TEXT_COLUMN, Prompt, Row, RowError, Settled, Table
from batchscore.settings.arguments import RowSettings, show_settings
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, PromptSettings, RequestSettings, cut
from batchscore.stores.below import FolderReader

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Settings that apply to rows.
FOR_ROWS = frozenset({"task", "model", *RowSettings.__annotations__})

#: Maximum number of result lists that wait between the engine and the caller.
MOST_LISTS_WAITING = 4

#: Seconds between two checks of a thread that waits for the other.
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of one row; `row` is its zero-based position.

    `value` is a `(d,)` float32 array for embeddings, otherwise a text, with a `schema` the value of JSON, or
    a list of these if `n` answers were requested; `None` if there is an `error`. `usage` and `raw` are set
    only on request. `truncated`: only the beginning of the text was sent.
    """

    row: int
    value: Any = None
    finish_reason: str | list[str | None] | None = None
    usage: Mapping[str, Any] | None = None
    raw: Any = None
    error: RowError | None = None
    truncated: bool = False


@show_settings(RowSettings)
async def stream_rows(
    rows: Iterable[str | Mapping[str, Any]], *, task: str, model: str, **settings: Unpack[RowSettings]
) -> AsyncGenerator[Scored, None]:
    """Yield the result of each row, in the order in which they complete.

    A row is a text, or a mapping of columns for `column`, `prompt` or `messages`; `None` is an empty row.
    Most calls set `task`, `model` and `column` or `prompt`; `simulate=True` is a free rehearsal. The
    signature shows all settings, and `batchscore score --help` explains them. `BATCHSCORE_…` variables apply,
    too, and API keys come from the environment.

    Raises `UsageError` and `SettingsError` at once; `ServiceRefused` and `Outage` after the results that came
    before.

    Closing the generator ends the work; requests that were already sent are billed. If you leave an
    `async for` early, call `aclose()` (`contextlib.aclosing`), since Python closes it only some time later.
    """
    chosen = settings_of_rows({**settings, "task": task, "model": model})
    async with aclosing(lists_of_results(rows, chosen)) as lists:
        async for results in lists:
            for result in results:
                yield result


@show_settings(RowSettings)
def score_rows(
    rows: Iterable[str | Mapping[str, Any]], *, task: str, model: str, **settings: Unpack[RowSettings]
) -> Generator[Scored, None, None]:
    """Yield the result of each row, as `stream_rows` does, to code that is not asynchronous.

    A row is a text, or a mapping of columns. Most calls set `task`, `model` and `column` or `prompt`;
    `simulate=True` is a free rehearsal. The signature shows all settings, and `batchscore score --help`
    explains them.

    The work happens in a thread with its own event loop, so it does not matter if a loop is already running,
    as in a notebook. `rows` is iterated in that thread. Ctrl-C while it waits for results first yields those
    of all rows that have been answered.
    """
    return results_of(rows, settings_of_rows({**settings, "task": task, "model": model}))


def settings_of_rows(given: Mapping[str, Any]) -> Settings:
    """Return checked settings for rows in memory; raises `UsageError`."""
    refuse_batches(given)
    chosen = settings_without_output(given, FOR_ROWS)
    refuse_batches({"via": chosen.via})
    return chosen


def refuse_batches(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` if rows in memory should go through the Batch API, also if a variable says so."""
    variable = os.environ.get("BATCHSCORE_VIA", "").strip()
    if "batch" in {given.get("via"), variable}:
        raise UsageError(
            f"{setting_name('via', 'batch')} is for files, not for rows in memory: batches take up to a day, "
            "and only an output on disk holds what is known of them. Write the rows to a file and call "
            "score_files, or leave it out to score them live, at the full price."
        )


def results_of(
    rows: Iterable[str | Mapping[str, Any]], settings: Settings, *, files: bool = True
) -> Generator[Scored, None, None]:
    """Yield the result of each row as `score_rows` does, with checked settings.

    `files`: rows may name files of images.
    """
    waiting: queue.Queue[list[Scored] | BaseException | None] = queue.Queue(MOST_LISTS_WAITING)
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any], asyncio.Event]] = []
    abandoned, stopped = threading.Event(), threading.Event()

    def hand_over(item: list[Scored] | BaseException | None) -> bool:
        """Put an item into the queue; return False if the caller has left."""
        while not abandoned.is_set():
            try:
                waiting.put(item, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    async def produce() -> None:
        task, stop = asyncio.current_task(), asyncio.Event()
        assert task is not None
        running.append((asyncio.get_running_loop(), task, stop))
        if stopped.is_set() or abandoned.is_set():
            return
        async with aclosing(lists_of_results(rows, settings, files=files, stop=stop)) as lists:
            async for results in lists:
                if not await asyncio.to_thread(hand_over, results):
                    return

    def work() -> None:
        try:
            asyncio.run(produce())
        except BaseException as error:
            hand_over(error)
        else:
            hand_over(None)

    def stop_engine() -> None:
        stopped.set()
        for loop, _, stop in running:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(stop.set)

    thread = threading.Thread(target=work, name="batchscore", daemon=True)
    thread.start()
    try:
        for results in received(waiting, thread, stop_engine):
            yield from results
    finally:
        abandoned.set()
        for loop, task, _ in running:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(task.cancel)
        # A generator that was not closed may be garbage-collected in any thread, also in its own.
        if thread is not threading.current_thread():
            thread.join()


def received(
    waiting: queue.Queue[list[Scored] | BaseException | None],
    thread: threading.Thread,
    stop: Callable[[], None],
) -> Iterator[list[Scored]]:
    """Yield what the thread puts into the queue, and raise the error that it puts there.

    Ctrl-C stops that thread; what was answered is paid for, so it is yielded before the exception.
    """
    interrupt: KeyboardInterrupt | None = None
    while True:
        # Ctrl-C may take an item from the queue and lose it, also the last one.
        has_ended = not thread.is_alive()
        try:
            # In short steps, so that Ctrl-C works on every system.
            item = waiting.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if has_ended:
                break
            continue
        except KeyboardInterrupt as error:
            if interrupt is not None:
                raise
            interrupt = error
            stop()
            continue
        if isinstance(item, BaseException):
            raise interrupt or item
        if item is None:
            break
        yield item
    if interrupt is not None:
        raise interrupt


async def lists_of_results(
    rows: Iterable[str | Mapping[str, Any]],
    settings: Settings,
    *,
    files: bool = True,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[list[Scored], None]:
    """Run an engine over the rows and yield its results; after `stop`, only those that have been answered."""
    service = cut(EndpointSettings, settings)
    with start_simulator(service) as rehearsal:
        endpoints = [rehearsal] if rehearsal is not None else endpoints_of(service, os.environ, None)
        engine = open_engine(
            cut(RequestSettings, settings),
            endpoints,
            prompts_of(rows, settings, files=files),
            environ=os.environ,
            listen=lambda _event: None,
            stop=stop or asyncio.Event(),
        )
        async with engine as running, aclosing(running.settled()) as settled:
            running.drain_seconds = 0.0
            async for results in settled:
                yield [to_scored(result) for result in results]


def refuse_non_rows(rows: Any) -> None:
    """Raise `UsageError` for an iterable that yields letters, keys or column names instead of rows."""
    kind = type(rows).__name__
    if isinstance(rows, (str, bytes, Mapping)):
        raise UsageError(f"rows is a single {kind}; give an iterable of rows, such as a list with one row.")
    if hasattr(rows, "iterrows"):
        raise UsageError(f'rows is a {kind}, which iterates over column names; give rows.to_dict("records").')
    if hasattr(rows, "__aiter__"):
        raise UsageError(f"rows is asynchronous ({kind}); give an ordinary iterable, such as a list.")
    if not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__"):
        raise UsageError(f"rows is {kind}, which cannot be iterated; give an iterable of rows.")


def prompts_of(
    rows: Iterable[str | Mapping[str, Any]], settings: Settings, *, files: bool = True
) -> Iterator[Prompt | Settled]:
    """Yield the prompt of each row; a row that is `None` or NaN, as in pandas, is empty.

    Raises `UsageError` if `rows` is not an iterable of rows, `InputError` if the first row lacks a column.
    """
    refuse_non_rows(rows)
    builder: PromptBuilder | None = None
    for number, row in enumerate(rows):
        if not isinstance(row, str) and is_blank(row):
            yield Settled("", number, NO_TEXT)
            continue
        if builder is None:
            builder = builder_like(row, settings, files=files)
        values = {TEXT_COLUMN: row} if isinstance(row, str) else row
        if not isinstance(values, Mapping):
            kind = type(row).__name__
            raise UsageError(f"row {number} is {kind}; a row is a text or a mapping of columns.")
        yield builder.build(Row("", number, values))


def builder_like(first: Any, settings: Settings, *, files: bool) -> PromptBuilder:
    """Return the builder for rows like the first, which may name `files` of images."""
    table = Table((TEXT_COLUMN,), (TEXT_COLUMN,), headerless=True, rows=iter(()))
    if isinstance(first, Mapping):
        # `csv.DictReader` has cells without a name, under None.
        names = tuple(name for name in first if isinstance(name, str))
        if first and not names:
            raise UsageError(
                "the names of a row's columns must be text; frame.rename(columns=str) makes them so."
            )
        texts = tuple(name for name in names if isinstance(first[name], str))
        table = Table(names, texts, headerless=False, rows=iter(()))
    read_file = read_image if settings.image and files else None
    return builder_for(table, parse_spec(cut(PromptSettings, settings)), read_file=read_file)


def with_text_column(settings: Settings, table: Table) -> Settings:
    """Return settings that name a table's text column; raises `InputError` if a column is missing."""
    spec = parse_spec(cut(PromptSettings, settings))
    builder_for(table, spec)
    column = text_column(table, spec)
    return settings if column is None else replace(settings, column=column)


def read_image(name: str | os.PathLike[str]) -> bytes:
    """Return the image that a row names; raises `OSError`.

    A text may come from data, so it must stay below the current folder; a `Path` was made by the caller.
    """
    here, trusted = Path.cwd(), not isinstance(name, str)
    root = Path(here.anchor) if trusted else here
    outside = "it is outside the current folder; give a pathlib.Path to read it all the same"
    return FolderReader(here, root, MOST_IMAGE_BYTES, trusted, outside).read(os.fspath(name))


def to_scored(settled: Settled) -> Scored:
    """Return a settled row for the caller."""
    result = settled.result
    if isinstance(result, RowError):
        return Scored(settled.row, error=result)
    return Scored(
        settled.row, result.value, result.finish_reason, result.usage, result.raw, truncated=settled.truncated
    )
