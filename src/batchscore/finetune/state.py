"""What has happened at the service for a prepared folder, so that a killed command continues where it was?

One file, `finetune.json`, is written before and after each call that costs. It holds ids, digests and times,
never a key, a URL with a signature or a text of an example. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import orjson

from batchscore.errors import InputError, OutputError, SettingsError
from batchscore.finetune.offered import finetune_command
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.lock import hold_lock
from batchscore.provider.job_object import JobState
from batchscore.settings.prices import PRICED_TOKENS
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors

STATE = "finetune.json"
#: The version of the file's form.
VERSION = 1
#: The name of the lock of a folder.
LOCK = "finetune"

#: The parts that are sent; the test part never is.
TRAINING, VALIDATION = "training", "validation"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord:
    """An upload in parts: `parts` are the ids of those that arrived, each of `part_bytes` but the last."""

    id: str
    part_bytes: int
    parts: tuple[str, ...] = ()
    expires_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """One file at the service. `name` is the one that it has there, and no other file has it.

    `intent_at`: when it was sent for the first time, so that it may be there without an id. `imported`: the
    service fetches it from a URL, which is not kept.
    """

    name: str
    digest: str
    bytes: int
    examples: int = 0
    intent_at: float = 0.0
    imported: bool = False
    upload: UploadRecord | None = None
    file_id: str = ""
    processed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """One training job. Times are seconds since the epoch, 0 if that has not happened.

    `request` is what creates it besides its files: the model, the suffix, the method. `intent_at` is set
    before it is sent; without an `id` the job may exist, and must be looked for. `doubtful`: another one may
    have been made: it was not found after a creation without a reply, or a copy of the folder has made it.
    `model` is the trained model's name. `error` is the service's code of a failure. `expected_tokens` is the
    estimate that the user has accepted, and `price` that of a million trained tokens, 0 if it is not known.
    """

    request: Mapping[str, Any] = field(default_factory=dict)
    intent_at: float = 0.0
    doubtful: bool = False
    id: str = ""
    status: str = ""
    created_at: float = 0.0
    finished_at: float = 0.0
    last_event: str = ""
    expected_tokens: int = 0
    price: float = 0.0
    trained_tokens: int = 0
    model: str = ""
    error: str = ""
    result_files: tuple[str, ...] = ()

    @property
    def may_exist(self) -> bool:
        """Whether a job was made, or may have been."""
        return bool(self.id or self.intent_at)

    @property
    def cost(self) -> float | None:
        """What the trained tokens cost, `None` if that is not known."""
        if not self.price or not self.trained_tokens:
            return None
        return self.trained_tokens * self.price / PRICED_TOKENS

    @property
    def expected_cost(self) -> float | None:
        """What the estimate was, `None` if there was none."""
        return self.expected_tokens * self.price / PRICED_TOKENS if self.price else None

    @property
    def base_model(self) -> str:
        """The model that is trained."""
        return str(self.request.get("model", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsRecord:
    """The results that were downloaded after the job had ended."""

    file_id: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentRecord:
    """The deployment of a trained model. `arm_id` is its address in Azure's management API.

    `intent_at` is set before it is made. `ends_at`: the service removes it by itself then, 0 if it does not.
    """

    arm_id: str = ""
    name: str = ""
    model: str = ""
    sku: str = ""
    capacity: int = 0
    intent_at: float = 0.0
    created_at: float = 0.0
    ends_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """The content of finetune.json. `endpoint` is a host; `dialect` a name of `dialects.DIALECTS`.

    `run` is the metadata by which a job is found again. `earlier_jobs` have failed or were cancelled, and a
    new one was made. `leftovers` are ids of uploaded files that no job needs, because the folder was prepared
    again. `checkpoint` is the model that `results` proposes, if it is not the job's last one. `deleted` are
    the ids of what was removed at the service.
    """

    run: str
    endpoint: str
    dialect: str
    training: FileRecord
    validation: FileRecord | None = None
    job: JobRecord = field(default_factory=JobRecord)
    earlier_jobs: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    results: ResultsRecord | None = None
    checkpoint: str = ""
    deployment: DeploymentRecord | None = None
    deleted: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, FileRecord]:
        """The files that are sent, by their part."""
        found = {TRAINING: self.training}
        return found if self.validation is None else found | {VALIDATION: self.validation}

    @property
    def is_removed(self) -> bool:
        """Whether the trained model was deleted."""
        return bool({self.job.model, self.job.id} - {""} & {*self.deleted})

    @property
    def model(self) -> str:
        """The model to use: the proposed checkpoint, else the one that the job has made."""
        return self.checkpoint or self.job.model


def read_state(folder: Place) -> TrainingState | None:
    """Return the state of a folder, `None` if it has none; raises `OutputError` if it cannot be read."""
    place = folder / STATE
    with explain_errors(place, "read"):
        if not storage.exists(place):
            return None
        data = b"".join(storage.chunks(place))
    try:
        return state_of(orjson.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OutputError(
            f"{place} is damaged. It says which job and files of this folder are at the service, so training "
            "may be paid for again without it. Restore it from a backup. If there is none, look at the "
            "service for jobs of this folder, and prepare a new folder."
        ) from None


def require_state(folder: Place) -> TrainingState:
    """Return the state of a folder; raises `InputError` if nothing was started from it."""
    found = read_state(folder)
    if found is None:
        command = finetune_command("start", folder, "-m", "MODEL")
        raise InputError(f"Nothing was started from {folder}: it has no {STATE}. To train, run: {command}")
    return found


def write_state(folder: Place, state: TrainingState) -> TrainingState:
    """Write a state to the device, readable only by its owner, and return it."""
    content = {"version": VERSION, **asdict(state)}
    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    storage.write_whole(folder / STATE, data, sync=True, private=True)
    return state


def state_of(given: Mapping[str, Any]) -> TrainingState:
    """Return the state of JSON; fields of later versions are ignored. Raises `ValueError` and others."""
    if given["version"] != VERSION:
        raise ValueError
    found = dict(given)
    for name, kind in (
        ("training", FileRecord),
        ("validation", FileRecord),
        ("job", JobRecord),
        ("results", ResultsRecord),
        ("deployment", DeploymentRecord),
    ):
        if found.get(name) is not None:
            found[name] = record_of(kind, found[name])
    return record_of(TrainingState, found)


def record_of(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """Return a record of JSON, whose lists are tuples."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    if isinstance(values.get("upload"), dict):
        values["upload"] = record_of(UploadRecord, values["upload"])
    return kind(**{name: value for name, value in values.items() if name in names})


def with_job(state: TrainingState, job: JobState) -> TrainingState:
    """Return a state with what the service says of its job."""
    found = replace(
        state.job,
        id=job.id,
        status=job.status,
        created_at=job.created or state.job.created_at,
        finished_at=job.finished or 0.0,
        trained_tokens=job.trained_tokens,
        model=job.trained_model,
        error=job.error_code,
        result_files=job.result_files,
    )
    return replace(state, job=found)


def local_folder_of(place: Place) -> Path:
    """Return a prepared folder; raises `SettingsError` if it is in a store, which has no locks."""
    if not isinstance(place, Path):
        raise SettingsError(
            f"{place} is in a store. Copy the folder to this machine: its state is kept there."
        )
    return place


@contextmanager
def hold_folder(folder: Place, command: str, notice: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock of a prepared folder while the block runs; raises `OutputLocked`."""
    what = str(folder)
    with hold_lock(folder_of_locks(folder), LOCK, what=what, command=command, notice=notice):
        yield


def change_state(
    folder: Place, change: Callable[[TrainingState], TrainingState], command: str = "batchscore finetune"
) -> TrainingState:
    """Change the state of a folder under its lock, and return it; raises `OutputLocked`."""
    with hold_folder(folder, command, lambda _: None):
        return write_state(folder, change(require_state(folder)))
