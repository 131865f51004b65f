"""How do the services that train models differ? One table; a new service is a row of it.

Names and limits are those of OpenAI's specification and of Azure's two, seen 2026-11. It calls nothing and
knows no files of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchscore.endpoint.target import Target
from batchscore.errors import ServiceRefused
from batchscore.finetune.offered import finetune_command
from batchscore.provider.client import CallFailed
from batchscore.provider.traits import service_of

#: What the kinds of training are called at Azure OpenAI. Standard stays in the region of the resource.
TRAINING_TYPES = ("Standard", "GlobalStandard", "Developer")


@dataclass(frozen=True, slots=True)
class TrainingDialect:
    """What one kind of service takes. `name` is the one in finetune.json.

    `rules` are those of the checks of files (`rules.SERVICES`). `training_types`: a job must have one of
    them. `usable` are the states of a file of which a job can be made. `has_uploads`: large files can be sent
    in parts, for `upload_seconds`. `has_import`: the service can fetch a file from a URL. `has_method`: a job
    names its method; others know only supervised training with `hyperparameters`. `keeps_metadata`: a job
    keeps texts of ours. `most_suffix` are the letters of a suffix. `most_files` and `most_bytes` are those of
    all training files of a resource, and `most_queued` the jobs that wait, 0 if there is no such limit.
    """

    name: str
    service: str
    rules: str
    training_types: tuple[str, ...] = ()
    usable: frozenset[str] = frozenset({"processed", "uploaded", ""})
    has_uploads: bool = True
    upload_seconds: int = 3600
    has_import: bool = False
    has_method: bool = True
    keeps_metadata: bool = True
    most_suffix: int = 64
    most_files: int = 0
    most_bytes: int = 0
    most_queued: int = 0

    @property
    def needs_deployment(self) -> bool:
        """Whether a trained model answers only as a deployment: so it is on Azure."""
        return bool(self.training_types)

    @property
    def deletes_jobs(self) -> bool:
        """Whether a model is deleted with its job."""
        return self.name == "azure-dated"


OPENAI = TrainingDialect("openai", "OpenAI", "openai")
#: Services that copy OpenAI's shape often know only the older form of a job.
COMPATIBLE = replace(OPENAI, name="compatible", service="this service", rules="any", has_method=False)
#: Azure refuses a job before its files are processed. A v1 address has no Uploads and no import.
AZURE_V1 = TrainingDialect(
    "azure-v1",
    "Azure OpenAI",
    "azure",
    training_types=TRAINING_TYPES,
    usable=frozenset({"processed"}),
    has_uploads=False,
    upload_seconds=7200,
    most_suffix=18,
    most_files=100,
    most_bytes=10**9,
    most_queued=20,
)
AZURE_DATED = replace(
    AZURE_V1,
    name="azure-dated",
    has_uploads=True,
    has_import=True,
    has_method=False,
    keeps_metadata=False,
)
DIALECTS = {each.name: each for each in (OPENAI, COMPATIBLE, AZURE_V1, AZURE_DATED)}


def dialect_of(target: Target) -> TrainingDialect:
    """Return the dialect of the service that a target belongs to."""
    return DIALECTS[service_of(target)]


#: Signs that a safety check has refused the trained model, or the training data.
_SAFETY_AFTER = ("safety evaluation", "harmful content", "unsafe_model")
_SAFETY_BEFORE = ("rai checks", "unsafe training file", "content_filter", "contentfilter")

#: What to do about a job that was refused or has failed: a code, or a part of the service's message, in lower
#: case, and our sentence. The first that fits is taken. The message itself is not shown.
ADVICE = (
    (
        "does not support fine-tuning",
        "The service does not train this model. On Azure OpenAI it also says so if the region is wrong.",
    ),
    ("trainingtype not supported", "This region does not offer the training type: choose another one."),
    (
        "daily_rate_limit_exceeded",
        "The limit of jobs per day is used up. Waiting some minutes does not help: run it tomorrow.",
    ),
    ("quotaexceeded", "The quota of jobs or files is used up: delete old ones, or wait for a job to end."),
    ("exceeded_quota", "The account's budget is used up: raise it at the service."),
    *(
        (sign, "The safety evaluation refused the trained model. The service does not name the examples.")
        for sign in _SAFETY_AFTER
    ),
    *(
        (sign, "The safety check refused the training data. The service does not name the examples.")
        for sign in _SAFETY_BEFORE
    ),
    ("invalid_n_examples", "The file has too few examples."),
    *(
        (code, "A file breaks a rule of its format. To see all errors, run: {check}")
        for code in (
            *("invalid_training_file", "invalid_validation_file", "invalid_file_format"),
            "jsonlvalidationfailed",
        )
    ),
    ("completed file import", "The file is not processed yet."),
    ("server_error", "The service failed. This is not billed, and a new job usually succeeds."),
    ("internalfailure", "The service failed. This is not billed, and a new job usually succeeds."),
    (
        "fileimportfailed",
        "The file could not be fetched: the URL has expired, is private, or has no JSONL.",
    ),
)


#: Signs in a job's failure that training on the same files will fail again.
OF_FILES = (
    *("invalid_n_examples", "invalid_training_file", "invalid_validation_file", "invalid_file_format"),
    *("jsonlvalidationfailed", *_SAFETY_AFTER, *_SAFETY_BEFORE),
)


def is_of_files(code: str, words: str) -> bool:
    """Whether a job failed because of its files, so that the same ones cannot be trained."""
    found = f"{code} {words}".lower()
    return any(sign in found for sign in OF_FILES)


def advice_for(code: str, words: str, check: str) -> str:
    """Return what to do about a refusal, "" if nothing is known; `words` are searched, never shown.

    `check` is the command that checks the files.
    """
    found = f"{code} {words}".lower()
    text = next((text for sign, text in ADVICE if sign in found), "")
    return text.replace("{check}", check)


def refusal_of(failure: CallFailed, dialect: TrainingDialect, folder: object) -> ServiceRefused:
    """Return the error of a job that the service refuses; it was surely not made."""
    advice = advice_for(failure.code, failure.words, finetune_command("check", folder))
    if not advice and failure.status in {401, 403}:
        advice = "Check the key or the sign-in, and whether this identity may train models."
        if dialect.name == "openai":
            advice += " OpenAI is ending fine-tuning without a contract: some organisations cannot train."
    if not advice:
        advice = "Check the model's name and the settings."
    return ServiceRefused(f"{failure}. No job was created, and nothing is billed. {advice}")
