"""What does a file of Azure ML describe, and which places in it run our scoring script?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from batchscore.azureml.check.document import Document, Keys

#: The end of a file's `$schema`, without `.schema.json`, and the kind of file.
KINDS: Mapping[str, str] = {
    "batchEndpoint": "endpoint",
    "modelBatchDeployment": "deployment",
    "batchDeployment": "deployment",
    "pipelineJob": "pipeline",
    "schedule": "schedule",
    "amlCompute": "compute",
    "environment": "environment",
    "data": "data",
}

#: Keys that occur only in Azure ML's files.
AZUREML_KEYS = {"endpoint_name", "code_configuration", "scoring_script", "create_job", "auth_mode"}


@dataclass(frozen=True, slots=True)
class Scoring:
    """A place that runs the scoring script: a batch deployment, or a parallel step of a pipeline.

    Fields of `Keys` lead to values in the document. `required` must be set, because the service's defaults
    do not suit us; each has the reason. `known_keys` are those of mappings that the SDK does not check.
    """

    what: str
    base: Keys
    settings: Keys
    code: Keys
    script: Keys
    environment: Keys
    required: Mapping[Keys, str]
    known_keys: Mapping[Keys, set[str]] = field(default_factory=dict)

    @property
    def variables(self) -> Keys:
        """The environment variables of the script."""
        return *self.settings, "environment_variables"

    @property
    def timeout(self) -> Keys:
        """The time that a call may take."""
        return *self.settings, "retry_settings", "timeout"

    @property
    def compute(self) -> Keys:
        """The name of the cluster."""
        return *self.base, "compute"

    @property
    def instances(self) -> Keys:
        """The number of nodes."""
        return *self.base, "resources", "instance_count"

    @property
    def lowest(self) -> Mapping[Keys, int]:
        """Integers, each with its lowest useful value."""
        settings = self.settings
        return {
            (*settings, "mini_batch_size"): 1,
            (*settings, "max_concurrency_per_instance"): 1,
            (*settings, "retry_settings", "max_retries"): 0,
            self.timeout: 1,
            self.instances: 1,
        }


def kind_of(document: Document) -> str | None:
    """Return what a file describes by its `$schema`; `None` if that is not Azure ML's or not known."""
    match = re.search(r"azuremlschemas\.azureedge\.net/.*?(\w+)\.schema\.json$", str(document.get("$schema")))
    return KINDS.get(match.group(1)) if match else None


def is_azureml(document: Document) -> bool:
    """Return whether a file claims to be Azure ML's, or has keys that only its files have."""
    if document.get("$schema") is not None:
        return "azuremlschemas" in str(document.get("$schema"))
    return bool(document.table().keys() & AZUREML_KEYS) or document.get("type") in {"pipeline", "amlcompute"}


def scorings(document: Document, kind: str) -> Iterator[Scoring]:
    """Give each place in a file that runs a scoring script."""
    if kind == "deployment":
        settings: Keys = ("settings",)
        yield Scoring(
            what="the deployment",
            base=(),
            settings=settings,
            code=("code_configuration", "code"),
            script=("code_configuration", "scoring_script"),
            environment=("environment",),
            required={
                **required_of((), settings, retries=3, seconds=30),
                (*settings, "output_action"): "summary_only; the default appends what the script returns",
                ("model",): "the registered model",
                ("endpoint_name",): "the endpoint",
            },
        )
    for name, step in document.table("jobs").items() if kind == "pipeline" else ():
        if isinstance(step, dict) and step.get("type") == "parallel":
            base, task = ("jobs", name), ("jobs", name, "task")
            yield Scoring(
                what=f"the step {name}",
                base=base,
                settings=base,
                code=(*task, "code"),
                script=(*task, "entry_script"),
                environment=(*task, "environment"),
                required={
                    **required_of(base, base, retries=2, seconds=60),
                    (*base, "input_data"): "the folder of files",
                },
                known_keys={
                    (*base, "retry_settings"): {"timeout", "max_retries"},
                    task: {
                        *("type", "code", "entry_script", "program_arguments"),
                        *("append_row_to", "environment", "model"),
                    },
                },
            )


def required_of(base: Keys, settings: Keys, *, retries: int, seconds: int) -> dict[Keys, str]:
    """Return the settings that deployments and steps must write out; the service's defaults differ."""
    one_process = "1: one process sends many requests at once, and several would share one quota"
    never_green = "0, so that a job with unscored files fails; the default ignores every failure"
    return {
        (*settings, "mini_batch_size"): "one file per call: the host repeats whole calls",
        (*settings, "max_concurrency_per_instance"): one_process,
        (*settings, "error_threshold"): never_green,
        (*settings, "retry_settings", "max_retries"): f"the service's default is {retries}",
        (*settings, "retry_settings", "timeout"): f"the service's default is {seconds} seconds for a file",
        (*settings, "logging_level"): "info",
        (*base, "resources", "instance_count"): "the number of nodes",
        (*base, "compute"): "the cluster",
    }
