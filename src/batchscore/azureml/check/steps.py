"""Does a parallel step of a pipeline tell the scoring script what a batch endpoint would tell it?

A step has no AZUREML_MODEL_DIR and no AZUREML_BI_OUTPUT_PATH: both come among its `program_arguments`, as
references to its inputs and outputs, which azure-ai-ml does not look into.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from batchscore.azureml.check.document import Document, Finding, Steps
from batchscore.azureml.check.variables import signs_in_by_entra
from batchscore.azureml.host import ARGUMENTS

NEEDED = {
    "--batchscore-model": "${{inputs.model}}, the registered model",
    "--batchscore-output": "${{outputs.score}}, where the scores go",
}
#: An argument of the host's own that lets a job be green of which files failed.
LENIENT = "--allowed_failed_percent"

_REFERENCE = re.compile(r"\$\{\{\s*(inputs|outputs)\.([\w-]+)\s*\}\}")


def step_findings(document: Document) -> Iterator[Finding]:
    """Give what is wrong with the steps of a pipeline, beyond what every scoring script needs."""
    for name, step in document.table("jobs").items():
        if not isinstance(step, dict):
            continue
        at = ("jobs", name)
        if "type" not in step and isinstance(step.get("task"), dict):
            yield document.finding("type is not set; a step that has a task is of type: parallel", *at)
        if step.get("type") == "parallel":
            yield from _argument_findings(document, at)
            yield from _reference_findings(document, at)
            if document.get(*at, "task", "append_row_to") is not None:
                message = "append_row_to: the host would write one line a file there; leave it out."
                yield document.finding(message, *at, "task", "append_row_to")
            entra = signs_in_by_entra(document.table(*at, "environment_variables"))
            if entra and not (document.get(*at, "identity") or document.get("identity")):
                message = (
                    "identity is not set: to sign in by Entra ID as the cluster add type: managed below it."
                )
                yield document.finding(message, *at, "identity")
            size = step.get("mini_batch_size")
            if isinstance(size, str) and not size.strip().isdigit() and "${{" not in size:
                message = f"mini_batch_size is {size!r}; for files it is how many, such as 1."
                yield document.finding(message, *at, "mini_batch_size")


def _argument_findings(document: Document, step: Steps) -> Iterator[Finding]:
    place = (*step, "task", "program_arguments")
    text = document.get(*place)
    try:
        # An expression counts as one word, with or without spaces in it.
        words = shlex.split(re.sub(r"\s+(?=[^{}]*\}\})", "", text)) if isinstance(text, str) else []
    except ValueError:
        yield document.finding("program_arguments: a quote is not closed.", *place)
        return
    given = dict(_pairs(words))
    for name, what in NEEDED.items():
        if not given.get(name):
            yield document.finding(f"{name} is missing among program_arguments: {what}.", *place)
    for name in given:
        if name.startswith("--batchscore") and name not in ARGUMENTS:
            yield document.finding(f"{name}: the scoring script has no such argument.", *place)
    if given.get(LENIENT, "0") not in {"", "0"}:
        message = f"{LENIENT} is not 0: a job whose files could not be scored would be green."
        yield document.finding(message, *place)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            after = words[number + 1] if number + 1 < len(words) else ""
            yield name, value if equals else ("" if after.startswith("--") else after)


def _reference_findings(document: Document, step: Steps) -> Iterator[Finding]:
    for place in ((*step, "task", "program_arguments"), (*step, "input_data")):
        for kind, name in _REFERENCE.findall(str(document.get(*place) or "")):
            if name not in document.table(*step, kind):
                yield document.finding(f"${{{{{kind}.{name}}}}}: the step has no such {kind[:-1]}.", *place)
