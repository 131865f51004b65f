"""What has happened at the service for a prepared folder, so that a killed command continues where it was?

One file, `finetune.json`, is written before and after each call that costs. It holds ids, digests and times,
never a key, a URL with a signature or a text of an example. It sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import orjson

from batchscore.errors import InputError, OutputError, OutputLocked, SettingsError
from batchscore.finetune.offered import finetune_command, how_to
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.lock import hold_lock
from batchscore.provider.job_object import ENDED, JobState
from batchscore.settings.prices import PRICED_TOKENS
from batchscore.stores import storage
from batchscore.stores.address import Place, shell_command

STATE = "finetune.json"
#: The version of the file's form.
VERSION = 1
#: The name of the lock of a folder.
LOCK = "finetune"

#: The parts that are sent; the test part never is.
TRAINING, VALIDATION = "training", "validation"

#: Of a field that earlier versions have not written.
LATER = {"later": True}

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

    A leftover has none if its name is used again. `intent_at`: when it was sent for the first time, so that
    it may be there without an id. `imported`: the service fetches it from a URL, which is not kept.
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
    Lists lag, so the doubt lasts until the job has ended. `again`: the user pays for it, whatever other
    folders have made of the same data.
    `model` is the trained model's name. `error` is the service's code of a failure. `expected_tokens` is the
    estimate that the user has accepted, and `price` that of a million trained tokens, 0 if it is not known.
    """

    request: Mapping[str, Any] = field(default_factory=dict)
    intent_at: float = 0.0
    doubtful: bool = False
    again: bool = False
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
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

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

    `address` is what is above its files and jobs, without secrets; earlier versions have not recorded it.

    `run` is the metadata by which a job is found again. `earlier_jobs` are the others of this folder: those
    that have failed or were cancelled before a new one was made, and doubles. `leftovers` are files that no
    job needs: they could not be used, or the folder was prepared again. `checkpoint` is the model that
    `results` proposes, if it is not the job's last one. `deleted` are the ids of what was removed at the
    service.
    """

    run: str
    endpoint: str
    dialect: str
    training: FileRecord
    validation: FileRecord | None = None
    job: JobRecord = field(default_factory=JobRecord)
    earlier_jobs: tuple[JobRecord, ...] = ()
    leftovers: tuple[FileRecord, ...] = ()
    results: ResultsRecord | None = None
    checkpoint: str = ""
    deployment: DeploymentRecord | None = None
    deleted: tuple[str, ...] = ()
    address: str = field(default="", metadata=LATER)

    @property
    def shown_endpoint(self) -> str:
        """Where the files and jobs are, for people."""
        return self.address or self.endpoint

    @property
    def files(self) -> dict[str, FileRecord]:
        """The files that are sent, by their part."""
        found = {TRAINING: self.training}
        return found if self.validation is None else found | {VALIDATION: self.validation}

    @property
    def jobs(self) -> Sequence[JobRecord]:
        """All jobs of the folder that are known, its own first."""
        return [each for each in (self.job, *self.earlier_jobs) if each.id]

    @property
    def doubles(self) -> Sequence[str]:
        """The jobs that go on besides the folder's own."""
        return [each.id for each in self.earlier_jobs if not each.ended]

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
    if not storage.exists(place):
        return None
    data = storage.whole(place)
    try:
        return state_of(orjson.loads(data), place)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OutputError(
            f"{place} is damaged. It says which job and files of this folder are at the service, so training "
            "may be paid for again without it. Restore it from a backup. If there is none, prepare a new "
            f"folder. To see what is at the service, run: {finetune_command('list')}"
        ) from None


def require_state(folder: Place) -> TrainingState:
    """Return the state of a folder; raises `InputError` if nothing was started from it."""
    found = read_state(folder)
    if found is None and not storage.is_folder(folder):
        raise InputError(f"There is no folder {folder}.")
    if found is None:
        train = how_to("To train", finetune_command("start", folder, "-m", "MODEL"))
        raise InputError(f"Nothing was started from {folder}: it has no {STATE}. {train}")
    return found


def write_state(folder: Place, state: TrainingState) -> TrainingState:
    """Write a state to the device, readable only by its owner, and return it."""
    content = {"version": VERSION, **asdict(state)}
    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    storage.write_whole(folder / STATE, data, sync=True, private=True)
    return state


def state_of(given: Mapping[str, Any], place: Place) -> TrainingState:
    """Return the state of JSON; raises `OutputError` if it is of a newer version, other errors if damaged."""
    version = value_of(int, given["version"])
    if version > VERSION:
        raise OutputError(f"{place} was written by a newer version of batchscore: update batchscore.")
    if version < VERSION:
        raise ValueError
    return record_of(TrainingState, given)


def record_of(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return a record of JSON; raises an error unless it has all fields, and each is of its type.

    Fields that are not known are ignored, and those of `LATER` versions may be missing.
    """
    hints = get_type_hints(kind)
    wanted = [each.name for each in fields(kind) if each.name in given or each.metadata != LATER]  # type: ignore[arg-type]
    return kind(**{name: value_of(hints[name], given[name]) for name in wanted})


def value_of(kind: Any, given: Any) -> Any:
    """Return the value of a field from JSON; raises an error if it is of another type."""
    inner = get_args(kind)
    if is_dataclass(kind):
        return record_of(kind, given)  # type: ignore[arg-type]
    if type(None) in inner:
        return None if given is None else value_of(inner[0], given)
    if inner and get_origin(kind) is tuple:
        return tuple(value_of(inner[0], each) for each in value_of(list, given))
    wanted = dict if inner else kind
    if wanted is float and type(given) is int:
        return float(given)
    if type(given) is not wanted:
        raise ValueError
    return given


def with_job(state: TrainingState, job: JobState) -> TrainingState:
    """Return a state with what the service says of one of its jobs.

    It changes the record of this job only. One without a record becomes the folder's job if it has none, and
    a double of it otherwise.
    """
    others = {each.id: each for each in state.earlier_jobs}
    if job.id == state.job.id or (not state.job.id and job.id not in others):
        return replace(state, job=updated(state.job, job))
    old = others.get(job.id) or JobRecord(request=state.job.request, intent_at=state.job.intent_at)
    return replace(state, earlier_jobs=tuple((others | {job.id: updated(old, job)}).values()))


def with_own_job(state: TrainingState, job: JobState) -> TrainingState:
    """Return a state whose own job is this one; another one that it had is among the others then."""
    mine = state.job
    others = tuple(each for each in state.earlier_jobs if each.id != job.id)
    if mine.id not in {"", job.id}:
        others = (*others, mine)
        # What the user has agreed to is the same.
        mine = replace(JobRecord(), **{name: getattr(mine, name) for name in _OF_CREATION})
        state = replace(state, results=None, checkpoint="")
    return with_job(replace(state, job=mine, earlier_jobs=others), job)


#: The fields of a job that are known before there is one.
_OF_CREATION = ("request", "intent_at", "doubtful", "again", "expected_tokens", "price")


def updated(record: JobRecord, job: JobState) -> JobRecord:
    """Return the record of a job with what the service says now; it may leave out what it has said before."""
    return replace(
        record,
        id=job.id,
        status=job.status,
        created_at=job.created or record.created_at,
        finished_at=job.finished or 0.0,
        trained_tokens=job.trained_tokens or record.trained_tokens,
        model=job.trained_model or record.model,
        error=job.error_code,
        result_files=job.result_files or record.result_files,
    )


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


@contextmanager
def hold_data(
    state: TrainingState, folder: Path, notice: Callable[[str], object], look_seconds: float
) -> Iterator[None]:
    """Let no other folder of this machine start a job of the same data while the block runs; wait for one."""
    locks = folder_of_locks(f"{LOCK} {state.endpoint} {state.training.digest}")
    what = f"The training file of {folder}"
    command = shell_command(["batchscore", "finetune", "start", str(folder)])
    has_noticed = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(hold_lock(locks, LOCK, what=what, command=command, notice=notice))
                break
            except OutputLocked as locked:
                if not has_noticed:
                    notice(f"Waiting, because another folder has the same data. {locked}")
                has_noticed = True
                time.sleep(look_seconds)
        yield


def change_state(folder: Place, change: Callable[[TrainingState], TrainingState]) -> TrainingState:
    """Change the state of a folder under its lock, and return it; raises `OutputLocked`."""
    with hold_folder(folder, "batchscore finetune", lambda _: None):
        return write_state(folder, change(require_state(folder)))


def require_job(state: TrainingState, job: str, folder: Place) -> TrainingState:
    """Return a state if its job is this one, or may be; raises `InputError` if it has a newer one."""
    is_earlier = any(each.id == job for each in state.earlier_jobs)
    if state.job.id == job or (state.job.intent_at and not state.job.id and not is_earlier):
        return state
    newer = f"Its job is {state.job.id} now." if state.job.id else "A new one is being created."
    command = finetune_command("status", folder)
    raise InputError(
        f"{job} is not the job of {folder} any more: another command has changed that. {newer} To look at "
        f"it, run: {command}"
    )


def change_job(folder: Place, job: str, change: Callable[[TrainingState], TrainingState]) -> TrainingState:
    """Change the state of a folder under its lock, if its job is still this one, and return it.

    Raises `OutputLocked`, and `InputError` if it has a newer job.
    """
    return change_state(folder, lambda state: change(require_job(state, job, folder)))
