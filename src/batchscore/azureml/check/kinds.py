"""What does a file of Azure ML describe, and where in it does something run our scoring script?

Pure: a document in, its kind and its scoring sections out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchscore.azureml.check.document import Document, Steps

#: What the `$schema` ends in, without `.schema.json` → the kind.
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


@dataclass(frozen=True, slots=True)
class Scoring:
    """A place that runs the scoring script: a batch deployment, or a parallel step of a pipeline.

    The steps lead to each thing in the document; `explicit` are the settings that have to be written out,
    for the service's own defaults are not ours, each with why.
    """

    what: str
    code: Steps
    script: Steps
    environment: Steps
    variables: Steps
    timeout: Steps
    compute: Steps
    instances: Steps
    #: Whole numbers, each with the lowest that can be meant.
    counts: Mapping[Steps, int]
    explicit: Mapping[Steps, str]
    #: Mappings in which the SDK lets any key pass, and the keys that exist.
    closed: Mapping[Steps, frozenset[str]]


def kind_of(document: Document) -> str | None:
    """Return what a file describes by its `$schema`; `None` for one that is not Azure ML's or not known."""
    match = re.search(r"azuremlschemas\.azureedge\.net/.*?(\w+)\.schema\.json$", str(document.get("$schema")))
    return KINDS.get(match.group(1)) if match else None


def is_azureml(document: Document) -> bool:
    """Say whether a file calls itself one of Azure ML's, or has what only those have."""
    if document.get("$schema") is not None:
        return "azuremlschemas" in str(document.get("$schema"))
    only_theirs = {"endpoint_name", "code_configuration", "scoring_script", "create_job", "auth_mode"}
    kind = document.get("type")
    return bool(document.table().keys() & only_theirs) or kind in {"pipeline", "amlcompute"}


def scorings(document: Document, kind: str) -> Iterator[Scoring]:
    """Give each place in a file that runs a scoring script."""
    if kind == "deployment":
        yield _of_deployment()
    if kind == "pipeline":
        for name, step in document.table("jobs").items():
            if isinstance(step, dict) and step.get("type") == "parallel":
                yield _of_step(str(name))


_EVERY_FILE = "one file a call: the host repeats whole calls"
_ONE_PROCESS = "one process a node asks many times at once, and processes share one quota"
_NEVER_GREEN = "0, so that a job with unscored files fails; the default ignores every failure"


def _of_deployment() -> Scoring:
    settings = ("settings",)
    return Scoring(
        what="the deployment",
        code=("code_configuration", "code"),
        script=("code_configuration", "scoring_script"),
        environment=("environment",),
        variables=("settings", "environment_variables"),
        timeout=("settings", "retry_settings", "timeout"),
        compute=("compute",),
        instances=("resources", "instance_count"),
        counts={
            (*settings, "mini_batch_size"): 1,
            (*settings, "max_concurrency_per_instance"): 1,
            (*settings, "retry_settings", "max_retries"): 0,
            (*settings, "retry_settings", "timeout"): 1,
            ("resources", "instance_count"): 1,
        },
        explicit={
            (*settings, "mini_batch_size"): _EVERY_FILE,
            (*settings, "max_concurrency_per_instance"): _ONE_PROCESS,
            (*settings, "output_action"): "summary_only; the default appends what the script returns",
            (*settings, "error_threshold"): _NEVER_GREEN,
            (*settings, "retry_settings", "max_retries"): "the service's default is 3",
            (*settings, "retry_settings", "timeout"): "the service's default is 30 seconds for a file",
            (*settings, "logging_level"): "info",
            ("resources", "instance_count"): "the number of nodes",
            ("compute",): "the cluster",
            ("model",): "the registered model",
            ("endpoint_name",): "the endpoint",
        },
        closed={},
    )


def _of_step(name: str) -> Scoring:
    step = ("jobs", name)
    return Scoring(
        what=f"the step {name}",
        code=(*step, "task", "code"),
        script=(*step, "task", "entry_script"),
        environment=(*step, "task", "environment"),
        variables=(*step, "environment_variables"),
        timeout=(*step, "retry_settings", "timeout"),
        compute=(*step, "compute"),
        instances=(*step, "resources", "instance_count"),
        counts={
            (*step, "mini_batch_size"): 1,
            (*step, "max_concurrency_per_instance"): 1,
            (*step, "retry_settings", "max_retries"): 0,
            (*step, "retry_settings", "timeout"): 1,
            (*step, "resources", "instance_count"): 1,
        },
        explicit={
            (*step, "mini_batch_size"): _EVERY_FILE,
            (*step, "max_concurrency_per_instance"): _ONE_PROCESS,
            (*step, "error_threshold"): _NEVER_GREEN,
            (*step, "retry_settings", "max_retries"): "the service's default is 2",
            (*step, "retry_settings", "timeout"): "the service's default is 60 seconds for a file",
            (*step, "logging_level"): "INFO",
            (*step, "resources", "instance_count"): "the number of nodes",
            (*step, "input_data"): "the folder of files",
            (*step, "compute"): "the cluster",
        },
        closed={
            (*step, "retry_settings"): frozenset({"timeout", "max_retries"}),
            (*step, "task"): frozenset(
                {"type", "code", "entry_script", "program_arguments", "append_row_to", "environment", "model"}
            ),
        },
    )
