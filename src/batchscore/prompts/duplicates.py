"""Which prompts are equal to one that is being asked, or was a moment ago?

Equal prompts are sent once and each row gets the answer. The window is bounded: of answered prompts so
many are remembered, the oldest are forgotten. It knows prompts and results, not requests.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.rows import Prompt, Score, Settled

#: Rows that may wait for the answers to their equals before no more is taken.
MOST_WAITING = 8192

#: Answers that are remembered; of 1,536 dimensions that is 25 MB.
REMEMBERED = 4096


@dataclass(slots=True)
class Duplicates:
    """Prompts under way with the rows that wait for their answers, and the latest answers."""

    following: dict[bytes, list[Prompt]] = field(default_factory=dict)
    leaders: dict[tuple[str, int], bytes] = field(default_factory=dict)
    answers: OrderedDict[bytes, Score] = field(default_factory=OrderedDict)
    waiting: int = 0

    def known(self, prompt: Prompt, settled: list[Settled]) -> bool:
        """Whether the prompt need not be asked: it is settled at once, or waits for its equal."""
        key = digest(prompt)
        answer = self.answers.get(key)
        if answer is not None:
            self.answers.move_to_end(key)
            settled.append(result_of(prompt, answer))
        elif key in self.following:
            self.following[key].append(prompt)
            self.waiting += 1
        else:
            self.following[key] = []
            self.leaders[prompt.file, prompt.row] = key
            return False
        return True

    def resolve(self, prompts: Sequence[Prompt], settled: list[Settled]) -> None:
        """Give the results of these prompts to the rows that waited for them, too."""
        for prompt, found in zip(prompts, list(settled), strict=True):
            # By the row, since a text that was too long is not what it was when it was taken.
            key = self.leaders.pop((prompt.file, prompt.row), b"")
            followers = self.following.pop(key, [])
            self.waiting -= len(followers)
            settled += [
                Settled(other.file, other.row, found.result, other.id, other.kept, found.truncated)
                for other in followers
            ]
            if isinstance(found.result, Score) and not found.truncated:
                self.answers[key] = found.result
                if len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)


def digest(prompt: Prompt) -> bytes:
    """Return what equal prompts share."""
    return hashlib.blake2b(prompt.body, digest_size=16).digest()


def result_of(prompt: Prompt, score: Score) -> Settled:
    """Return a prompt with its score."""
    return Settled(prompt.file, prompt.row, score, prompt.id, prompt.kept)
