"""What do people see of a run's batches: how many are where, how old is the oldest, and when do they end?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from batchscore.batch.build import ChunkWork
from batchscore.output.submitted import Chunk, Step, submitted_text
from batchscore.rows import BatchesState

#: OpenAI keeps results that long after a batch has ended; Azure keeps them until they are removed.
DAYS_KEPT = 30
DAY = 86_400.0


@dataclass(slots=True)
class Phase:
    """What a run does with its batches now, and how many are settled."""

    reading: bool = True
    collecting: bool = False
    settled: int = 0

    def state(self, works: Sequence[ChunkWork], now: float) -> BatchesState:
        """Return the state of the chunks that are worked on."""
        steps = [work.chunk.step for work in works]
        running = [work for work in works if work.chunk.step in {Step.CREATING, Step.CREATED}]
        ended = sum(step in {Step.ENDED, Step.SETTLED} for step in steps)
        uploading = any(work.sending for work in works)
        phases = {"planning": self.reading, "collecting": self.collecting or ended, "uploading": uploading}
        begun = [work.chunk.created_at or now for work in running]
        ends = [work.chunk.expires_at for work in running if work.chunk.expires_at]
        return BatchesState(
            phase=next((name for name, is_on in phases.items() if is_on), "waiting"),
            unsent=sum(not work.chunk.may_cost for work in works),
            running=len(running),
            ended=self.settled + ended,
            rows=sum(work.chunk.rows for work in running),
            rows_done=sum(work.rows_done for work in running),
            oldest_seconds=max([0.0, *(now - each for each in begun)]),
            latest_end=max(ends, default=None),
        )


def left_text(chunks: Sequence[Chunk]) -> str:
    """Return how many batches keep running, how many have ended, and until when results can be fetched."""
    ended = [chunk for chunk in chunks if chunk.step is Step.ENDED]
    running = [chunk for chunk in chunks if chunk.step is not Step.ENDED]
    if all(chunk.simulated for chunk in chunks):
        return (
            f"{submitted_text([*chunks])} ended with the simulator of this run. The same command sends them "
            "again."
        )
    sentences = []
    if running:
        keep = "keeps" if sum(chunk.rows for chunk in running) == 1 else "keep"
        sentences.append(f"{submitted_text(running)} {keep} running at the service.")
    if ended:
        sentences.append(f"{submitted_text(ended)} {'more ' if running else ''}have results to fetch.")
    first = min(chunk.ended_at or chunk.created_at or chunk.creating_at for chunk in chunks)
    last_day = datetime.fromtimestamp(first + DAYS_KEPT * DAY).astimezone()
    return (
        f"{' '.join(sentences)} Run the same command again before {last_day:%Y-%m-%d} to fetch their results."
    )
