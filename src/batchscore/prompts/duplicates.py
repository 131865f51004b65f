"""Which prompts are duplicates of one that is in flight, or was answered recently?

Duplicates are sent once, and each of their rows gets the answer. The number of remembered answers is bounded;
the oldest are dropped. This module knows prompts and results, not requests.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from batchscore.rows import Prompt, Score, Settled

#: The fields of a row itself, which prompts and results have: all but what was said of its answer.
OF_ROW = tuple(
    {each.name for each in fields(Prompt)} & {each.name for each in fields(Settled)} - {"truncated"}
)

#: Rows that may wait for the answer to their duplicate before no more rows are taken.
MOST_WAITING = 8192

#: Number of remembered answers; with 1,536 dimensions they take 25 MB.
REMEMBERED = 4096


def copy_answer(item: Prompt | Settled, known: Settled) -> Settled:
    """Return the result of a row whose answer is known, maybe from another row."""
    return replace(known, **{name: getattr(item, name) for name in OF_ROW})


@dataclass(slots=True)
class Duplicates:
    """The prompts in flight, the rows that wait for their answers, and the latest answers."""

    following: dict[bytes, list[Prompt]] = field(default_factory=dict)
    leaders: dict[tuple[str, int], bytes] = field(default_factory=dict)
    answers: OrderedDict[bytes, Settled] = field(default_factory=OrderedDict)
    waiting: int = 0

    def add(self, prompt: Prompt, settled: list[Settled]) -> bool:
        """Return whether the prompt is a duplicate, which is settled now or with the other's answer."""
        key = hashlib.blake2b(prompt.body, digest_size=16).digest()
        answer = self.answers.get(key)
        if answer is not None:
            self.answers.move_to_end(key)
            settled.append(copy_answer(prompt, answer))
        elif key in self.following:
            # Its text is not needed any more, and images may be large.
            self.following[key].append(replace(prompt, body=b"") if prompt.image_bytes else prompt)
            self.waiting += 1
        else:
            self.following[key] = []
            self.leaders[prompt.file, prompt.row] = key
            return False
        return True

    def resolve(self, prompts: Sequence[Prompt], settled: list[Settled]) -> None:
        """Give the results of these prompts to the rows that waited for them as well."""
        for prompt, found in zip(prompts, list(settled), strict=True):
            # Looked up by row, since a text that was too long has been changed since.
            key = self.leaders.pop((prompt.file, prompt.row), b"")
            followers = self.following.pop(key, [])
            self.waiting -= len(followers)
            settled += [copy_answer(other, found) for other in followers]
            if isinstance(found.result, Score) and not found.truncated:
                # Kept cells may be large, and are the row's own.
                self.answers[key] = replace(found, kept={}) if found.kept else found
                if len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)
