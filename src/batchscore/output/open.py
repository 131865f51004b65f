"""Which ledger does a run work on, and may it?

Another run may hold the lock of the output. A ledger is single (the run has the output for itself), shared
(several workers write it), or of next versions (`--incremental`). This is the one place that chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from batchscore.errors import count_text, setting_name
from batchscore.output.conflicts import (
    discard_scores,
    layouts_of_other_tasks,
    refuse_foreign_file,
    refuse_to_lose,
)
from batchscore.output.find import folder_of_locks
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.incremental.switch import (
    drop_reported_scores,
    finish_killed_runs,
    next_layout,
    remove_next_versions,
    run_name_after,
)
from batchscore.output.journal import Journals
from batchscore.output.journal_place import has_journals, journal_folder
from batchscore.output.ledger import Ledger, SingleLedger
from batchscore.output.locks.lock import Lock, hold_lock, refuse_locked
from batchscore.output.locks.system import SYSTEM
from batchscore.output.manifest import readable_manifests
from batchscore.output.one_file import note_none
from batchscore.output.shared_ledger import SharedLedger
from batchscore.output.spec import Output, OutputSpec
from batchscore.rows import Listen, Notice
from batchscore.settings.slices import OutputSettings
from batchscore.stores import storage
from batchscore.stores.half_written import sweep_abandoned
from batchscore.stores.links import through_link


def open_ledger(
    spec: OutputSpec,
    settings: OutputSettings,
    output: Output,
    listen: Listen,
    run: str,
    before_discarding: Callable[[], None],
) -> Ledger:
    """Open the output for the run of this name; raises `OutputError` if it holds something else.

    `before_discarding` is called before scores are discarded, and raises if they must stay.
    """
    layout, overwrite = spec.layout, settings.overwrite
    if output.file is not None:
        sweep_abandoned(through_link(output.file).parent)
        if not overwrite:
            refuse_foreign_file(spec, output.file)
            note_none(layout.root, output.file)
    other_tasks = layouts_of_other_tasks(spec) if overwrite and output.file is not None else []
    if (
        overwrite
        and not settings.incremental
        and (
            any(manifest.ok for each in (layout, *other_tasks) for manifest in readable_manifests(each))
            or has_journals(layout, spec.scratch)
        )
    ):
        before_discarding()
    discarded = sum(
        discard_scores(other, Journals(journal_folder(other, spec.scratch), "")) for other in other_tasks
    )
    finish_killed_runs(layout)
    if settings.shared_output:
        shared = SharedLedger(spec)
        shared.prepare()
        if shared.has_twin:
            share = f"the share {spec.share.number}/{spec.share.workers} ({setting_name('part_of')})"
            twice = "so its rows may be paid for twice. Stop one of the two."
            listen(Notice(f"Another process on this machine is scoring {share}, {twice}"))
        storage.remove(layout.discarding)
        return shared
    single = SingleLedger(spec)
    ledger: Ledger = single
    if settings.incremental:
        hidden = replace(spec, layout=next_layout(layout))
        ledger = following = NextLedger(hidden, visible=single, run=run_name_after(layout, run))
        discarded += following.prepare(overwrite=overwrite)
        effect = "replaces {} of {}, file by file"
    else:
        if overwrite:
            discarded += drop_reported_scores(layout, run_name_after(layout, run))
        discarded += single.read_output(spec, overwrite=overwrite)
        single.distrust_contradicted()
        if output.file is not None and not overwrite:
            refuse_to_lose(ledger.manifests, output.file, spec.files)
        elif output.file is not None:
            # Until the new run has finished, no file may look like its result.
            storage.remove(through_link(output.file))
        if overwrite:
            remove_next_versions(layout)
        effect = "discarded {} that {} held"
    # What a killed run has not discarded, this run takes over.
    storage.remove(layout.discarding)
    if ledger.journals_moved_to:
        listen(
            Notice(
                f"{output.folder} cannot hold journals (its file system cannot append or rename), so they "
                f"are kept in {ledger.journals_moved_to}. Choose another folder with "
                f"{setting_name('scratch_dir')}."
            )
        )
    if discarded:
        scores = count_text(discarded, "score")
        listen(Notice(f"{setting_name('overwrite')} {effect.format(scores, output.named)}."))
    return ledger


@contextmanager
def lock_output(settings: OutputSettings, output: Output, listen: Listen) -> Iterator[Lock]:
    """Keep other runs of this task away from the output; raises `OutputLocked` if one is at work.

    A single file holds one task, so there runs of other tasks are kept away, too. Stores have no locks: there
    a lock in the temporary folder keeps away the runs of this machine only.
    """
    folder, task = folder_of_locks(output.folder), settings.task.name
    what = f"{output.named} ({task})"
    if settings.shared_output:
        # One of many workers takes no lock. Only a run that has the output for itself keeps it away.
        refuse_locked(folder, task, what=what)
        yield Lock(folder, b"", None, SYSTEM)
        return
    names = {task: what} if output.file is None else {"file": f"{output.file}", task: what}
    with ExitStack() as stack:
        for name, text in names.items():
            lock = stack.enter_context(
                hold_lock(
                    folder,
                    name,
                    what=text,
                    command=f"batchscore score --task {task}",
                    notice=lambda text: listen(Notice(text)),
                )
            )
        yield lock
