"""Does a parallel step of a pipeline give the scoring script what a batch endpoint would give it?

A step has no AZUREML_MODEL_DIR and no AZUREML_BI_OUTPUT_PATH. Both are `program_arguments`, as references to
the step's inputs and outputs, which azure-ai-ml does not check.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from batchscore.azureml.check.document import Document, Finding, Keys
from batchscore.azureml.check.variables import signs_in_by_entra
from batchscore.azureml.host import ARGUMENTS

NEEDED = {
    "--batchscore-model": "${{inputs.model}}, the registered model",
    "--batchscore-output": "${{outputs.score}}, where the scores go",
}
#: The host's own argument that lets a job succeed although files failed.
LENIENT = "--allowed_failed_percent"


def step_findings(document: Document) -> Iterator[Finding]:
    """Give the mistakes in the steps of a pipeline, beyond those of every scoring script."""
    for name, step in document.table("jobs").items():
        if not isinstance(step, dict):
            continue
        keys: Keys = ("jobs", name)
        if "type" not in step and isinstance(step.get("task"), dict):
            yield document.finding("type is not set; a step with a task is of type: parallel", *keys)
        if step.get("type") != "parallel":
            continue
        arguments = (*keys, "task", "program_arguments")
        for message in _argument_problems(document.get(*arguments)):
            yield document.finding(message, *arguments)
        for place in (arguments, (*keys, "input_data")):
            for kind, named in re.findall(
                r"\$\{\{\s*(inputs|outputs)\.([\w-]+)\s*\}\}", str(document.get(*place))
            ):
                if named not in document.table(*keys, kind):
                    message = f"${{{{{kind}.{named}}}}}: the step has no such {kind[:-1]}."
                    yield document.finding(message, *place)
        if document.get(*keys, "task", "append_row_to") is not None:
            message = "append_row_to: the host would write one line per file there; remove it."
            yield document.finding(message, *keys, "task", "append_row_to")
        entra = signs_in_by_entra(document.table(*keys, "environment_variables"))
        if entra and not (document.get(*keys, "identity") or document.get("identity")):
            message = "identity is not set: to sign in by Entra ID as the cluster add type: managed below it."
            yield document.finding(message, *keys, "identity")
        size = step.get("mini_batch_size")
        if isinstance(size, str) and not size.strip().isdigit() and "${{" not in size:
            message = f"mini_batch_size is {size!r}; it must be a number of files, such as 1."
            yield document.finding(message, *keys, "mini_batch_size")


def _argument_problems(text: object) -> Iterator[str]:
    """Give the mistakes in a step's `program_arguments`."""
    try:
        # An expression is one word, with or without spaces in it.
        words = shlex.split(re.sub(r"\s+(?=[^{}]*\}\})", "", text)) if isinstance(text, str) else []
    except ValueError:
        yield "program_arguments: a quote is not closed."
        return
    given: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            given[name] = value if equals else "" if after.startswith("--") else after
    for name, what in NEEDED.items():
        if not given.get(name):
            yield f"{name} is missing among program_arguments: {what}."
    for name in given:
        if name.startswith("--batchscore") and name not in ARGUMENTS:
            yield f"{name}: the scoring script has no such argument."
    if given.get(LENIENT, "0") not in {"", "0"}:
        yield f"{LENIENT} is not 0: a job with unscored files would succeed."
