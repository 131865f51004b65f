"""Which rules does a project's Batch API follow: durations, limits and forms?

It must not know files nor batches: a test sets the rules, and the modules beside it follow them.
Limits: `platform.openai.com/docs/guides/batch` and Azure's pages on global batch, seen 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

Rules = TypeVar("Rules")

#: Other forms of a batch object, which Azure's pages and compatible services show: see `BatchRules.forms`.
BATCH_FORMS = (
    *("capital_status", "upper_status", "unknown_status", "canceled", "iso_times", "null_counts"),
    *("null_endpoint", "empty_ids", "early_ids", "ids_on_failed", "empty_error_file", "errors_object"),
    *("errors_list", "unknown_fields"),
)

#: How long a batch is in each state, as a share of all its time.
_SHARES = {"validating": 0.1, "in_progress": 0.7, "finalizing": 0.2, "cancelling": 0.1}


@dataclass(frozen=True, kw_only=True)
class BatchRules:
    """The rules of one project. Seconds are those of the project's clock; a None never passes.

    States:

    - `validating`, `in_progress`, `finalizing`, `cancelling`: how long a batch is in this state. None: it is
      stuck there. With 0 in all of them, the first poll shows the end.
    - `progress`: shares of the lines that are done at equal steps of `in_progress`. Default: evenly.
    - `done_at_most`: this share of the lines runs, the others never do. OpenAI's batch then expires at the
      end of its `window`, Azure's continues until it is cancelled.
    - `cancel_loses`: a batch that is cancelled completes nevertheless.
    - `shuffle`: the results are in another order than the input.

    Visibility: `file_pending` (a new file is `pending`), `file_hidden` (it is not found), `batch_hidden` (a
    new batch is not listed). `listing` False answers 501. `oldest_first` turns the list of batches.
    `metadata` False drops it. `foreign_batches` are listed, too. `ranges` False ignores `Range`.

    Limits (None: those of the service): `max_lines`, `max_bytes`, `max_inputs` (of embeddings), `max_files`
    (Azure only), `max_errors` (the most that a failed batch lists), `enqueued_tokens` and
    `enqueued_requests` of each model, `batches_per_hour`. `release_after`: how long a batch that has ended
    still counts. `quota_at_create` and `invalid_at_create`: `POST …/batches` answers 400 at once, where
    otherwise the batch fails.

    `forms`: other forms of the batch object, of `BATCH_FORMS`.
    """

    validating: float | None = 0.2
    in_progress: float | None = 1.4
    finalizing: float | None = 0.4
    cancelling: float | None = 0.2
    progress: tuple[float, ...] = ()
    done_at_most: float = 1.0
    cancel_loses: bool = False
    shuffle: bool = True
    window: float = 86_400.0
    file_pending: float = 0.0
    file_hidden: float = 0.0
    batch_hidden: float = 0.0
    listing: bool = True
    oldest_first: bool = False
    metadata: bool = True
    foreign_batches: int = 0
    ranges: bool = True
    max_lines: int | None = None
    max_bytes: int = 200_000_000
    max_inputs: int = 50_000
    max_files: int | None = None
    max_errors: int = 50
    enqueued_tokens: int | None = None
    enqueued_requests: int = 1_000_000
    release_after: float = 0.0
    batches_per_hour: int = 2000
    quota_at_create: bool = False
    invalid_at_create: bool = False
    forms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("progress", "forms"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        refuse_negative(self)
        if not all(0 <= share <= 1 for share in (*self.progress, self.done_at_most)):
            raise ValueError("progress and done_at_most must be shares between 0 and 1")
        unknown = sorted(set(self.forms) - set(BATCH_FORMS))
        if unknown:
            raise ValueError(f"forms must be some of {', '.join(BATCH_FORMS)}, not {unknown[0]!r}")

    def share_done(self, elapsed: float) -> float:
        """Return the share of the lines that is done after this many seconds in progress."""
        if self.in_progress is None:
            return self.done_at_most
        passed = elapsed / self.in_progress if self.in_progress else 1.0
        if passed < 1 and self.progress:
            passed = self.progress[int(passed * len(self.progress))]
        return min(1.0, max(0.0, passed), self.done_at_most)


def rules_lasting(seconds: float) -> BatchRules:
    """Return the rules by which a batch ends after this many seconds."""
    return BatchRules(**{state: seconds * share for state, share in _SHARES.items()})  # type: ignore[arg-type]


def refuse_negative(rules: Any) -> None:
    """Raise ValueError for a number below 0."""
    for item in fields(rules):
        value = getattr(rules, item.name)
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{item.name} must not be negative, not {value}")


def changed_rules(rules: Rules, changes: Mapping[str, Any]) -> Rules:
    """Return rules with some changed."""
    known = [item.name for item in fields(rules)]  # type: ignore[arg-type]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(f"there is no rule {unknown[0]!r}; the rules are {', '.join(known)}")
    return replace(rules, **changes)  # type: ignore[type-var]
