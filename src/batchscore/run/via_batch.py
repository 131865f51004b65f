"""How does a run send its rows through the service's Batch API? Live runs load none of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from batchscore.batch.waits import Waits
from batchscore.endpoint.target import Endpoint, endpoints_of
from batchscore.output.layout import Layout
from batchscore.output.submitted import Chunks, chunk_folder, scratch_of
from batchscore.rows import Listen
from batchscore.run.job import RunningEngine
from batchscore.settings.fields import Settings
from batchscore.settings.slices import BatchSettings, EndpointSettings, cut

#: A function that opens an engine over a source of prompts.
OpenEngine: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningEngine]]

if TYPE_CHECKING:
    from batchscore.batch.engine import BatchEngine
    from batchscore.batch.open import Surroundings


def live_endpoints(
    settings: Settings, environ: Mapping[str, str], endpoints: Sequence[Endpoint]
) -> Sequence[Endpoint]:
    """Return the endpoints of live requests; `endpoints` are those of the run."""
    if settings.live_deployment is None:
        return endpoints
    where = replace(cut(EndpointSettings, settings), deployment=settings.live_deployment)
    return endpoints_of(where, environ, None)


def check_via(settings: Settings, endpoints: Sequence[Endpoint], environ: Mapping[str, str]) -> None:
    """Raise `SettingsError` if rows go in batches, and the service does not take such ones."""
    if settings.via != "batch" or settings.simulate:
        return
    from batchscore.batch.open import check_batch  # noqa: PLC0415 - the SDK takes half a second to load

    check_batch(cut(BatchSettings, settings), endpoints)
    live_endpoints(settings, environ, endpoints)


@dataclass(frozen=True, slots=True)
class ViaBatch:
    """The batches of one run in one output."""

    settings: Settings
    endpoint: Endpoint
    environ: Mapping[str, str]
    layout: Layout
    waits: Waits

    @property
    def used(self) -> bool:
        """Whether the rows go in batches."""
        return self.settings.via == "batch"

    @property
    def around(self) -> Surroundings:
        """What the batches work with."""
        from batchscore.batch.open import Surroundings  # noqa: PLC0415

        chunks = Chunks(chunk_folder(self.layout))
        scratch = scratch_of(self.layout, self.settings.scratch_dir)
        return Surroundings(self.endpoint, self.environ, chunks, scratch, self.waits)

    def open_engine(self, source: Any, **given: Any) -> AbstractAsyncContextManager[BatchEngine]:
        """Open the engine over a source of prompts."""
        from batchscore.batch.open import open_batch_engine  # noqa: PLC0415

        return open_batch_engine(cut(BatchSettings, self.settings), self.around, source, **given)

    def opener(self, live: OpenEngine) -> OpenEngine:
        """Return what opens the engine of this run; `live` opens that of live requests."""
        return partial(self.open_engine, live=live) if self.used else live

    async def is_answered_live(self) -> bool:
        """Whether live requests are answered like the rows; raises a `BatchscoreError` if batches are not."""
        from batchscore.batch.open import require_answers  # noqa: PLC0415

        return await require_answers(cut(BatchSettings, self.settings), self.around)

    async def remove_published(self, listen: Listen, read: Collection[str], *, stopped: bool) -> None:
        """Remove what the service holds of batches whose rows are published; see `open.remove_published`."""
        if not self.used:
            return
        from batchscore.batch.open import remove_published  # noqa: PLC0415

        await remove_published(
            cut(BatchSettings, self.settings), self.around, listen, read=read, stopped=stopped
        )
