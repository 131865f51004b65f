"""What of a file's new version do earlier runs know already?

Rows that ask what was answered before are settled, part by part, and a part that is the same as before stands
as it is; so whoever asks afterwards finds only the rest missing. Nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from batchscore.output.incremental.known_answers import Answers
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.manifest import Manifest
from batchscore.output.parts import Part, answered_as, final
from batchscore.rows import Prompt, Settled


def carry_over(
    ledger: NextLedger, file: str, digest: str, items: Iterable[Prompt | Settled], answers: Answers
) -> tuple[int, int]:
    """Make of a file's new version all that is known; returns its rows, and how many of them are known.

    Memory: one part's rows, and the answers to them.
    """
    before = None if file in ledger.replaced else ledger.visible.manifests.get(file)
    manifest = ledger.manifests.get(file)
    if manifest is None:
        manifest = ledger.manifests[file] = Manifest(file, ledger.layout.task, ledger.fingerprint)
    if before is not None:
        manifest.dimensions = manifest.dimensions or before.dimensions
    manifest.input, manifest.state = digest, "partial"
    # Nothing of a journal stands in what is carried over, so none may go for it.
    ledger.written[file] = float("inf")
    try:
        rows = sum(
            carried_part(ledger, manifest, before, Part(file, number, whole=True), list(group), answers)
            for number, group in groupby(items, key=lambda item: item.row // ledger.rows_per_part)
        )
    finally:
        ledger.published.pop(file, None)
        del ledger.written[file]
    left = any(commit.asked_again(retry_errors=ledger.retry_errors) for commit in manifest.parts.values())
    if manifest.ok + manifest.errors == rows and not left:
        manifest.state = "complete"
    ledger.write_manifest(file)
    return rows, min(rows, manifest.standing(retry_errors=ledger.retry_errors))


def carried_part(
    ledger: NextLedger,
    manifest: Manifest,
    before: Manifest | None,
    part: Part,
    items: list[Prompt | Settled],
    answers: Answers,
) -> int:
    """Make of one part all that is known; returns its rows."""
    for item in items:
        part.expect(item)
    old = before.parts.get(part.number) if before is not None else None
    made = manifest.parts.get(part.number)
    if made is not None and ledger.stands(made):
        # An earlier run has begun with it, and may have paid for more than was known.
        return part.read
    if old is not None and (old.inputs, old.rows) != (part.inputs, part.read):
        old = None
    if old is not None and ledger.stands_whole(part.file, old):
        manifest.parts[part.number] = old
        return part.read
    standing: dict[int, Settled] = {}
    for each, loading in ((old, ledger.visible), (made, ledger)):
        standing |= loading.load(each) if each is not None else {}
    settle_known(ledger, part, items, standing, answers)
    ledger.publish(ledger.encode(part))
    return part.read


def settle_known(
    ledger: NextLedger,
    part: Part,
    items: Iterable[Prompt | Settled],
    standing: Mapping[int, Settled],
    answers: Answers,
) -> None:
    """Settle the rows of a part whose answers are known, at their place or from another one."""
    for item in items:
        if isinstance(item, Settled):
            part.settle(item)
            continue
        known: Settled | None = standing.get(item.row)
        if known is None or not final(known, retry_errors=ledger.retry_errors):
            known = answers.find(part.asked[item.row], retry_errors=ledger.retry_errors)
        if known is not None:
            part.settle(answered_as(item, known))
