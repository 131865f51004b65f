"""Which rules does a project's fine-tuning follow: durations, outcomes, forms, limits and prices?

It must not know files nor jobs: a test sets the rules, and the modules beside it follow them.
Limits: Azure's quotas of fine-tuning and OpenAI's guides, seen 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.simulator.batch.rules import refuse_negative

#: How a job can fail: see `FineTuneRules.fails`.
FAILURES = ("", "server_error", "exceeded_quota", "safety_before", "safety_after")
#: Columns of a result file: see `FineTuneRules.columns`.
COLUMNS = ("", "gpt3", "chat", "full", "azure", "reinforcement")
#: What is done with a byte order mark: see `FineTuneRules.bom`.
MARKS = ("", "accepted", "refused", "required")
#: How a result file is sent: see `FineTuneRules.encoding`.
ENCODINGS = ("", "base64", "plain")
#: How long a job is in each state, as a share of all its time.
_SHARES = {"validating": 0.1, "queued": 0.1, "running": 0.8}


@dataclass(frozen=True, kw_only=True)
class FineTuneRules:
    """The rules of one project. Seconds are those of the project's clock; a None never passes.

    Jobs: `validating`, `queued`, `running`, `pausing` are the seconds in this state. A job of the
    Developer type is paused half-way for `preempts` seconds; 0: it is not. `fails` lets the jobs that are
    created from now on fail, one of `FAILURES`, after the share `fails_at` of their training. `overfits`:
    the last epochs are worse than one before. `epochs` is what `auto` means; None: by the number of
    examples. `odd_status` is shown once instead of "running". `finish_slips`: `estimated_finish` is that
    much too early, a share. A page of events has the last `repeats_events` of the page before, too.
    `mid_results`: the result file is there while the job runs (Azure).

    Forms: `columns` and `encoding` of result files, "" being those of the service; `metadata` False drops
    it.

    Files: `bom` is what is done with a byte order mark; "": OpenAI refuses it. `file_running` seconds
    until a file is processed. `max_files` and `max_file_bytes` of a resource (Azure). `upload_expires`:
    None is an hour, on Azure two.

    Limits: `running_jobs`, `queued_jobs`, `daily_jobs`, `max_jobs`. `eligible` False: nobody here may
    train. `training_types`: those of the region (Azure). `training_ends` and `inference_ends`: seconds
    after the project's beginning until no model can be trained, or answers.

    Models and deployments: a model is unknown for `model_hidden` seconds after its job (OpenAI). A
    deployment is Creating for `creating` seconds, then Succeeded, and does not answer for `not_ready`
    more; it is Deleting for `deleting`. `deployment_fails`: it ends as Failed. `quota` is in thousands of
    tokens per minute, for each kind of deployment; `max_deployments` are those of tuned models.
    `may_deploy` False: the role is missing; `may_delete` is that for models. `idle_removal` and
    `developer_life`: seconds until a deployment is removed. `one_at_a_time`: a call is refused while the
    account works on another deployment. `poll_header`: how a change is followed, "" (poll the resource),
    "operation" or "location"; `poll_after` is its `Retry-After`. A list of the management has `page`
    values at once.

    Money: `training_price` per million tokens, `hosting_price` per hour.
    """

    validating: float | None = 0.1
    queued: float | None = 0.1
    running: float | None = 0.8
    pausing: float | None = 0.1
    preempts: float | None = 0.0
    fails: str = ""
    fails_at: float = 0.5
    overfits: bool = False
    epochs: int | None = None
    odd_status: str = ""
    finish_slips: float = 0.3
    repeats_events: int = 0
    mid_results: bool = True
    columns: str = ""
    encoding: str = ""
    metadata: bool = True
    bom: str = ""
    file_running: float | None = 0.0
    max_files: int = 100
    max_file_bytes: int = 10**9
    upload_expires: float | None = None
    running_jobs: int = 3
    queued_jobs: int = 20
    daily_jobs: int | None = None
    max_jobs: int = 100
    eligible: bool = True
    training_types: tuple[str, ...] = ("standard", "globalstandard", "developer", "developertier")
    training_ends: float = 150 * 86_400.0
    inference_ends: float = 330 * 86_400.0
    model_hidden: float = 0.0
    creating: float | None = 0.1
    not_ready: float | None = 0.0
    deleting: float = 0.0
    deployment_fails: bool = False
    quota: int = 1000
    max_deployments: int = 10
    may_deploy: bool = True
    may_delete: bool = True
    idle_removal: float = 15 * 86_400.0
    developer_life: float = 86_400.0
    one_at_a_time: bool = True
    poll_header: str = ""
    poll_after: float = 0.0
    page: int = 1000
    training_price: float = 25.0
    hosting_price: float = 1.70

    def __post_init__(self) -> None:
        object.__setattr__(self, "training_types", tuple(one.lower() for one in self.training_types))
        refuse_negative(self)
        choices = {
            "fails": FAILURES,
            "columns": COLUMNS,
            "encoding": ENCODINGS,
            "bom": MARKS,
            "poll_header": ("", "operation", "location"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                shown = ", ".join(repr(one) for one in allowed)
                raise ValueError(f"{name} must be one of {shown}, not {getattr(self, name)!r}")


def tuning_lasting(seconds: float) -> FineTuneRules:
    """Return the rules by which a job ends after this many seconds."""
    return FineTuneRules(**{state: seconds * share for state, share in _SHARES.items()})  # type: ignore[arg-type]
