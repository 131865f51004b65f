"""How is a list of a service read, newest first, without reading all of it?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import openai

from batchscore.provider.batch_object import BatchState
from batchscore.provider.client import ControlPlane, Unknown
from batchscore.provider.job_object import JobCheckpoint, JobState, TrainingEvent

#: What a service gives in one page of a list.
PAGE = 100


T = TypeVar("T", BatchState, JobState, TrainingEvent, JobCheckpoint)


async def newest_first(
    plane: ControlPlane,
    what: str,
    page_of: Callable[..., Awaitable[Any]],
    read: Callable[[Any], T],
    since: float,
) -> AsyncIterator[T]:
    """Give what a service lists, but nothing made before `since`. Raises `CallFailed`.

    `page_of` is a method of the SDK that gives a page of the list. A list that is newest first, as
    those of OpenAI and Azure, is not read beyond what is new enough.
    """
    after: str = ""
    while True:

        async def call(headers: Mapping[str, str], after: str = after) -> tuple[list[T], bool]:
            page = await page_of(limit=PAGE, after=after or openai.omit, extra_headers=headers)
            if not isinstance(getattr(page, "data", None), list):
                raise Unknown(what, why="the reply is not a list")
            return [read(each) for each in page.data], bool(getattr(page, "has_more", False))

        found, more = await plane.repeat(what, call)
        created = [since if each.created is None else each.created for each in found]
        for each, at in zip(found, created, strict=True):
            if at >= since:
                yield each
        if not more or not found or found[-1].id == after or created[0] > created[-1] < since:
            return
        after = found[-1].id
