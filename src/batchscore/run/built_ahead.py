"""How are the prompts of rows with images built, while the event loop continues with the requests?

To read and to encode an image takes tens of milliseconds. A thread builds one prompt ahead of the engine. It
is the only one that reads the file's rows meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from batchscore.engine.valve import Valve
from batchscore.rows import Prompt, Row, Settled, UnreadableRow

#: Returns what a row sends; the function that it gets takes the digest of its images.
Build = Callable[[Row | UnreadableRow, Callable[[bytes], None]], Prompt | Settled]

#: A prompt, or the result of a row without one, and the digests of its images.
Built = tuple[Prompt | Settled, list[bytes]]


def built_ahead(
    rows: Iterator[Row | UnreadableRow], build: Build, ready: Valve
) -> Generator[Built, None, None]:
    """Give what is built of each row; `ready` is open while the next one can be taken without waiting.

    Raises what reading the rows raises, behind the rows before that.
    """
    loop = asyncio.get_running_loop()

    def build_next() -> Built | None:
        row = next(rows, None)
        digests: list[bytes] = []
        return None if row is None else (build(row, digests.append), digests)

    def tell(_: Future[Built | None]) -> None:
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(ready.open)

    def begin() -> Future[Built | None]:
        ready.is_open = False
        started = thread.submit(build_next)
        started.add_done_callback(tell)
        return started

    with ThreadPoolExecutor(1, "batchscore-images") as thread:
        try:
            coming = begin()
            while (built := coming.result()) is not None:
                coming = begin()
                yield built
        finally:
            ready.open()
