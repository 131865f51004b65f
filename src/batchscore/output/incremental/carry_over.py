"""What do earlier runs already know of a file's new version?

Rows whose prompts were answered before are settled, part by part. A part that is the same as before is used
as it is. The run then finds only the rest missing. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from batchscore.output.incremental.known_answers import KnownAnswers
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.manifest import Manifest
from batchscore.output.parts import Part, copy_answer, is_final
from batchscore.rows import Prompt, Settled


def carry_over(
    ledger: NextLedger, file: str, digest: str, items: Iterable[Prompt | Settled], answers: KnownAnswers
) -> tuple[int, int]:
    """Write all that is known of a file's new version; return its rows, and the number of known ones.

    Memory: one part's rows, and the answers to them.
    """
    before = None if file in ledger.replaced.files else ledger.visible.manifests.get(file)
    spec = ledger.spec
    manifest = ledger.manifest_of(file)
    if before is not None:
        manifest.dimensions = manifest.dimensions or before.dimensions
    manifest.input, manifest.state = digest, "partial"
    rows = 0
    for number, group in groupby(items, key=lambda item: item.row // spec.rows_per_part):
        part = Part(file, number, fully_read=True)
        carry_over_part(ledger, before, part, list(group), answers)
        rows += part.read
    retried = any(commit.retried(retry_errors=spec.retry_errors) for commit in manifest.parts.values())
    if manifest.ok + manifest.errors == rows and not retried:
        manifest.state = "complete"
    ledger.write_manifest(file)
    return rows, min(rows, manifest.final_rows(retry_errors=spec.retry_errors))


def carry_over_part(
    ledger: NextLedger,
    before: Manifest | None,
    part: Part,
    items: list[Prompt | Settled],
    answers: KnownAnswers,
) -> None:
    """Write all that is known of one part."""
    for item in items:
        part.expect(item)
    parts, retry_errors = ledger.manifests[part.file].parts, ledger.spec.retry_errors
    old = before.parts.get(part.number) if before is not None else None
    begun = parts.get(part.number)
    if begun is not None and ledger.is_there(begun):
        # An earlier run has begun with this part, and may have paid for more than was known.
        return
    if old is not None and (old.inputs, old.rows) != (part.inputs, part.read):
        old = None
    if old is not None and ledger.is_reusable(part.file, old):
        parts[part.number] = old
        return
    records: dict[int, Settled] = {}
    for commit, source in ((old, ledger.visible), (begun, ledger)):
        records |= source.parts.load(commit) if commit is not None else {}
    for item in items:
        if isinstance(item, Settled):
            part.settle(item)
            continue
        known: Settled | None = records.get(item.row)
        if known is None or not is_final(known, retry_errors=retry_errors):
            known = answers.find(part.prompt_digests[item.row], retry_errors=retry_errors)
        if known is not None:
            part.settle(copy_answer(item, known))
    encoded = ledger.encode(part)
    if encoded is not None:
        # No journal holds any of it, so none may be removed for it.
        ledger.commit(encoded)
