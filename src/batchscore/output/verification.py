"""What has a check of an output found, and what is said of it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from batchscore.errors import HAS_CHANGED, ExitCode, count_text, name_settings
from batchscore.output.checkpoints import waiting_text
from batchscore.output.missing import AGAIN, NOT_READ, stopped_text
from batchscore.output.repeated_ids import RepeatedIds
from batchscore.output.share import Share
from batchscore.output.verify_parts import OutputProblem
from batchscore.rows import FileTotals
from batchscore.stores import storage
from batchscore.stores.address import Place

#: The number of problems listed in the text before "and N more".
MOST_LISTED = 50

_TOTALS = ("rows", "ok", "errors", "empty", "not_reached")


@dataclass(slots=True)
class LastRun:
    """How the last run was `called`, if the same command reads all that is missing, and why it `stopped`.

    `stopped` is empty unless the user must act first. `waiting` rows are in checkpoint files, and
    `unconfirmed` says which batches may be at a service. It did not find `gone` files. `shares` are the
    missing ones. `repeated` rows have the id of an earlier one. A door that knows the commands offers
    `next_step` to complete the output, and `again` after damage was removed.
    """

    called: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""
    waiting: int = 0
    unconfirmed: str = ""
    gone: int = 0
    shares: list[Share] = field(default_factory=list)
    repeated: RepeatedIds = field(default_factory=RepeatedIds)
    next_step: str = ""
    again: str = "Then run the same score command again."


@dataclass(slots=True)
class Verification:
    """The result of a check. `missing` says in words what a score command would still score.

    `unreadable` counts the files that must be fixed first, `unread` those with rows that were not read.
    `lost` rows had a record that is damaged; the rows of `unknown` files are not known, since their manifests
    cannot be read. `submitted` rows are at a service's Batch API. `repair` is the command for a repair.
    After it: the `removed` files, and the `unrepaired` problems.
    """

    output: str
    task: str
    repaired: bool
    files: list[FileTotals] = field(default_factory=list)
    problems: list[OutputProblem] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: int = 0
    unread: int = 0
    lost: int = 0
    unknown: int = 0
    submitted: int = 0
    last: LastRun = field(default_factory=LastRun)
    repair: str = ""
    removed: list[str] = field(default_factory=list)
    unrepaired: list[OutputProblem] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """0 if all is correct and complete by now, 4 if the same score command completes it, else 1."""
        if self.unreadable or (self.unrepaired if self.repaired else self.problems):
            return ExitCode.ACTION_NEEDED
        return ExitCode.CONTINUE_LATER if self.missing or self.unknown else ExitCode.DONE

    def total(self, name: str) -> int:
        """Return the sum of a figure over all files."""
        return sum(getattr(totals, name) for totals in self.files)

    def remove(self, path: Place) -> None:
        """Remove a file and note it."""
        if storage.remove(path):
            self.removed.append(str(path))

    def to_text(self) -> str:
        """Return a line for each fault and each missing part, and a summary."""
        lines = _first_lines([f"{each.place}: {each.what}" for each in self.problems])
        lines += _first_lines([f"incomplete: {what}" for what in self.missing])
        lines += [self.last.unconfirmed] if self.last.unconfirmed else []
        lines += [str(self.last.repeated)] if self.last.repeated.count else []
        rows, ok, errors, empty, not_reached = map(self.total, _TOTALS)
        files = count_text(len(self.files), "file")
        more = f"; {count_text(self.unread, 'file')} {NOT_READ}" if self.unread else ""
        if self.last.waiting:
            more += (
                f"; {waiting_text(self.last.waiting)}, and the next run publishes them without paying again"
            )
        lines.append(
            f"{self.task}: {count_text(rows, 'row')} of {files} = {ok:,} scored + "
            f"{errors - empty:,} failed + {empty:,} empty + {not_reached:,} not reached{more}. "
            f"{self.conclusion()}"
        )
        return "\n".join(lines)

    def conclusion(self) -> str:
        """Return the result in a sentence, and what to do next."""
        files = count_text(self.unknown, "file")
        unknown = [f"the rows of {files} are unknown"] if self.unknown else []
        known = f"{count_text(self.lost, 'row')} lost {'its' if self.lost == 1 else 'their'} record"
        lost = ", ".join([known, *unknown] if self.lost or not unknown else unknown)
        yourself = "Move foreign files and folders away, and remove scores of other settings, yourself"
        places = {each.place for each in self.problems}
        if places and places <= {each.place for each in self.unrepaired}:
            return f"Damaged, and no repair changes that: {lost}. {yourself}. {self.last.again}"
        if self.repaired and self.problems:
            removed = count_text(len(self.removed), "file")
            more = f" {yourself}." if self.unrepaired else ""
            then = "The output is complete." if self.exit_code is ExitCode.DONE else self.last.again
            return f"Repaired: {lost}, {removed} removed.{more} {then}"
        if self.problems:
            return f"Damaged: {lost}. To remove the damage, run: {self.repair}\n{self.last.again}"
        if self.missing:
            # What to do about a file that is gone is in its line.
            unreadable = self.unreadable - self.last.gone
            files = "these files" if len(self.missing) == unreadable else "the unreadable files"
            fix = f"Fix {files}, then run the same score command again." if unreadable else AGAIN
            if self.last.gone == len(self.missing):
                fix = ""
            said = stopped_text(self.last.stopped)
            then = self.last.next_step or ("" if HAS_CHANGED in said else fix)
            return f"Correct but incomplete. {said}{then}".rstrip()
        return "Correct and complete."

    def to_json(self, word: Callable[[str], str] = str) -> dict[str, Any]:
        """Return the whole result as one JSON object, in which `word` has written each setting's name."""
        return {
            "exit_code": int(self.exit_code),
            "output": self.output,
            "task": self.task,
            **{name: self.total(name) for name in _TOTALS},
            "lost": self.lost,
            "submitted": self.submitted,
            "unconfirmed": self.last.unconfirmed,
            "waiting": self.last.waiting,
            "repaired": self.repaired,
            "problems": [
                asdict(problem) | {"what": name_settings(problem.what, word)} for problem in self.problems
            ],
            "missing": [name_settings(what, word) for what in self.missing],
            "unreadable": self.unreadable,
            "unread": self.unread,
            "removed": self.removed,
            **self.last.repeated.to_json(),
            "files": [
                {name: getattr(totals, name) for name in ("file", "state", *_TOTALS)} for totals in self.files
            ],
        }


def _first_lines(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], f"and {more:,} more"] if more > 0 else lines
