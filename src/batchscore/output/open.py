"""Which account does a run work on, and may it?

It joins what was set and what was found to a ledger of the right kind: of a folder or one file, held alone or
shared, of the output itself or of its files' next versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchscore.errors import OutputError, UsageError
from batchscore.output.incremental.next_ledger import ledger_for, run_name
from batchscore.output.incremental.switch import clear, drop_told, finish_others
from batchscore.output.layout import Layout
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import places_of_manifests, read_manifest
from batchscore.output.one_file import discard_other_tasks, other_tasks, refuse_other_tasks, refuse_to_lose
from batchscore.output.place import Output
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.output.shared_ledger import SharedLedger
from batchscore.prompts.spec import parse_spec
from batchscore.rows import Listen, Notice
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import without_secrets
from batchscore.settings.slices import PromptSettings, cut
from batchscore.stores import storage
from batchscore.stores.address import Place


def open_ledger(
    settings: Settings,
    schema: RecordSchema,
    files: Mapping[str, str],
    output: Output,
    listen: Listen,
    name: str,
    before_discarding: Callable[[], None],
) -> tuple[Layout, Ledger]:
    """Open the output folder; raises `OutputError` where it holds something else.

    `files` are the places of the files that can be scored by their names in records, in input order.
        What is returned is the account that the run `name` works on: of `--incremental` that of new versions.
    `before_discarding` is called before scores are given up, and raises where they are not to be.
    """
    ledger = ledger_of(settings, schema, files, output)
    layout = ledger.layout
    if output.file is not None:
        # Others may be writing their files beside it.
        storage.sweep(output.file.parent, older_seconds=storage.STALE_SECONDS)
    if output.file is not None and not settings.overwrite:
        refuse_foreign_file(layout, output.file)
    discarded = 0
    if settings.overwrite and not settings.incremental and holds_scores(ledger, output):
        before_discarding()
    if output.file is not None and not settings.overwrite:
        refuse_other_tasks(ledger, output.file)
    elif output.file is not None:
        discarded = discard_other_tasks(ledger)
    finish_others(layout)
    if settings.incremental:
        ledger = ledger_for(ledger, run_name(layout, name))
    elif settings.overwrite:
        discarded += drop_told(layout, run_name(layout, name))
    discarded += ledger.prepare(overwrite=settings.overwrite)
    if ledger.journals_elsewhere:
        listen(
            Notice(
                f"{output.folder} cannot hold journals (its file system does not append or rename), so they "
                f"are kept in {ledger.journals_elsewhere}; --scratch-dir chooses another folder."
            )
        )
    if settings.incremental:
        if discarded:
            listen(Notice(f"--overwrite replaces {discarded:,} scores of {output.asked_for}, file by file."))
        return layout, ledger
    if output.file is not None and not settings.overwrite:
        refuse_to_lose(ledger, output.file, list(files))
    elif output.file is not None:
        # Until the new run is through there must be no file that looks like its result.
        storage.remove(output.file)
    if settings.overwrite:
        clear(layout)
    if discarded:
        listen(Notice(f"--overwrite discarded {discarded:,} scores that {output.asked_for} held."))
    return layout, ledger


def ledger_of(settings: Settings, schema: RecordSchema, files: Mapping[str, str], output: Output) -> Ledger:
    """Return the account of an output, nothing of it read or written; raises `UsageError`."""
    scratch = None if settings.scratch_dir is None else Path(settings.scratch_dir)
    chosen = format_named(part_format(settings, output))
    layout = Layout(output.folder, settings.task, chosen.suffix)
    told = (layout, chosen, schema, settings.rows_per_part, fingerprint(settings, output))
    if settings.shared_output and output.file is not None:
        raise UsageError(
            f"--shared-output: several workers cannot write the one file {output.file}; give a folder, and "
            "make the file of it with `batchscore merge` when all are through."
        )
    ledger: Ledger = (
        SharedLedger(
            *told,
            scratch=scratch,
            files=tuple(files),
            places={} if settings.base_dir is not None else files,
        )
        if settings.shared_output
        else Ledger(*told, scratch=scratch)
    )
    ledger.retry_errors = settings.retry_errors
    return ledger


def refuse_foreign_file(layout: Layout, file: Place) -> None:
    """Raise `OutputError` where the one file that is asked for is somebody else's."""
    if storage.exists(file) and not storage.exists(layout.readme):
        raise OutputError(
            f"{file} is there already and batchscore did not write it; "
            "choose another name, or replace it with --overwrite."
        )


def holds_scores(ledger: Ledger, output: Output) -> bool:
    """Whether there is anything that an `--overwrite` would give up."""
    for account in [ledger, *(other_tasks(ledger) if output.file is not None else ())]:
        for path in places_of_manifests(account.layout):
            with suppress(OutputError):  # a damaged one is in nobody's way
                if read_manifest(path).ok:
                    return True
    return False


def part_format(settings: Settings, output: Output) -> str:
    """Return the parts' format: that of the one file, where the two are of a kind."""
    if output.file is None:
        return settings.format
    return "jsonl" if output.file.suffix.lower() == ".jsonl" else "parquet"


def fingerprint(settings: Settings, output: Output) -> dict[str, Any]:
    """Return what determines a record: runs that differ in it cannot share an output."""
    spec = parse_spec(cut(PromptSettings, settings))
    text_field = {} if settings.text_field is None else {"text_field": settings.text_field}
    return text_field | {
        "model": settings.model,
        "deployment": settings.deployment,
        # A secret determines no record, and may change.
        "params": without_secrets(settings.api_params),
        "on_long_input": settings.on_long_input,
        "column": settings.column,
        "prompt": settings.prompt,
        "system": settings.system,
        "messages": list(spec.messages) if spec.messages is not None else None,
        "txt": settings.txt,
        "id": settings.id,
        "keep": list(settings.keep),
        "usage": settings.usage,
        "raw": settings.raw,
        "format": part_format(settings, output),
        "rows_per_part": settings.rows_per_part,
        "simulated": settings.simulate,
    }
