"""Prompts with images are built beside the event loop, in order, one ahead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from batchscore.engine.valve import Valve
from batchscore.errors import UnreadableFile
from batchscore.prompts.prompt import PromptSpec, builder_for
from batchscore.rows import Prompt, Row, Table
from batchscore.run.built_ahead import built_ahead
from batchscore.task import TASKS
from pictures import png


def rows(count: int, *, broken: bool = False) -> Iterator[Any]:
    yield from (Row("a.csv", number, {"q": f"what {number}", "photo": "p.png"}) for number in range(count))
    if broken:
        raise UnreadableFile("a.csv", "it breaks off")


def test_the_loop_continues_while_an_image_is_read() -> None:
    """The next row is taken only when it is ready; the end and an error come behind the rows before them."""
    go_on = threading.Semaphore(1)

    def slow(_: Any) -> bytes:
        go_on.acquire()
        return png()

    table = Table(("q", "photo"), ("q", "photo"), headerless=False, rows=rows(0))
    spec = PromptSpec(TASKS["chat"], column="q", image=("photo",), model="gpt-4o")
    builder = builder_for(table, spec, read_file=slow)

    async def take() -> list[tuple[str, int]]:
        ready, found = Valve(), []
        coming = built_ahead(rows(3, broken=True), builder.build, ready)
        try:
            for item, digests in coming:
                assert isinstance(item, Prompt)
                found.append((item.body.decode()[:9], len(digests)))
                assert not ready.is_open, "its image is not read yet"
                go_on.release()
                if not ready.is_open:
                    await asyncio.wait_for(ready.opened(), 10)
        except UnreadableFile:
            found.append(("broken", 0))
        assert ready.is_open
        return found

    found = asyncio.run(take())
    assert [digests for _, digests in found] == [1, 1, 1, 0]
    assert found[-1][0] == "broken"


def test_a_stream_that_is_closed_early_leaves_no_thread() -> None:
    table = Table(("q", "photo"), ("q", "photo"), headerless=False, rows=rows(0))
    spec = PromptSpec(TASKS["chat"], column="q", image=("photo",), model="gpt-4o")
    builder = builder_for(table, spec, read_file=lambda _: png())

    async def take_one() -> None:
        ready = Valve()
        coming = built_ahead(rows(9), builder.build, ready)
        next(coming)
        coming.close()
        assert ready.is_open

    asyncio.run(take_one())
    assert not [each for each in threading.enumerate() if each.name.startswith("batchscore-images")]
