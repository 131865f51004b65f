"""Which models does a service have, does one answer, and how is a trained one deleted?

Deleting is repeated if its reply is lost: what is gone stays gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from batchscore.endpoint.target import Target
from batchscore.provider.client import ControlPlane, NotThere, Refused, Unknown
from batchscore.provider.files import UploadedFile, uploaded_file
from batchscore.provider.job_object import ModelFacts, model_facts

#: Refusals that say that a model cannot be reached by this key, and not that it has refused a request.
_OF_KEYS = frozenset({401, 403})

#: What the smallest request asks for. A refusal of it is an answer, too.
_PROBE: Mapping[str, Any] = {"messages": [{"role": "user", "content": "."}], "max_completion_tokens": 1}

#: Files of training and of its results.
PURPOSES = ("fine-tune", "fine-tune-results")

#: How often something is deleted that the service does not delete for now.
MOST_TRIES = 4


async def list_models(plane: ControlPlane) -> Sequence[ModelFacts]:
    """Return all models of a resource, base models, too; raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> Sequence[ModelFacts]:
        page = await plane.client.models.list(extra_headers=headers)
        return [model_facts(each) for each in page.data or ()]

    return await plane.repeat("the list of models", call)


def is_trained(model: str) -> bool:
    """Whether a name is of a trained model: `ft:BASE:…` at OpenAI, `BASE.ft-…` at Azure, a checkpoint."""
    return model.startswith(("ft:", "ftchkpt-")) or ".ft-" in model


async def answers(plane: ControlPlane, target: Target, model: str) -> bool:
    """Whether a model, or its deployment, answers requests; raises `CallFailed` if the key is refused.

    One that is not ready yet is a 404. The request is for one token.
    """
    path = "/chat/completions"
    if target.surface == "azure-deployments":
        path = f"/deployments/{quote(model, safe='')}{path}"

    async def call(headers: Mapping[str, str]) -> None:
        body = {**_PROBE, "model": model}
        await plane.client.post(path, cast_to=object, body=body, options={"headers": dict(headers)})

    try:
        await plane.once("a test request", call)
    except NotThere:
        return False
    except Refused as refusal:
        if refusal.status in _OF_KEYS or refusal.status is None:
            raise
    return True


async def delete_model(plane: ControlPlane, model: str) -> bool:
    """Delete a trained model; False if there was none. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> None:
        path = f"/models/{quote(model, safe=':')}"
        await plane.client.delete(path, cast_to=type(None), options={"headers": dict(headers)})

    return await is_deleted(plane, "the deletion of the model", call)


async def delete_job(plane: ControlPlane, job: str) -> bool:
    """Delete a job with its model and its events (Azure's dated surface); False if there was none."""

    async def call(headers: Mapping[str, str]) -> None:
        path = f"/fine_tuning/jobs/{quote(job, safe='')}"
        await plane.client.delete(path, cast_to=type(None), options={"headers": dict(headers)})

    return await is_deleted(plane, "the deletion of the job", call)


async def delete_file(plane: ControlPlane, file: str) -> bool:
    """Delete a file; False if there was none."""

    async def call(headers: Mapping[str, str]) -> None:
        await plane.client.files.delete(file, extra_headers=headers)

    return await is_deleted(plane, "the deletion of the file", call)


async def cancel_upload(plane: ControlPlane, upload: str) -> bool:
    """Cancel an upload that was not completed; False if there was none."""

    async def call(headers: Mapping[str, str]) -> None:
        await plane.client.uploads.cancel(upload, extra_headers=headers)

    return await is_deleted(plane, "the end of the upload", call)


async def is_deleted(
    plane: ControlPlane, what: str, call: Callable[[Mapping[str, str]], Awaitable[None]]
) -> bool:
    """Make a call that deletes, a few times; False if there was nothing to delete. Raises `CallFailed`.

    A conflict may last some seconds after what it was about is gone.
    """
    for is_last in (False,) * (MOST_TRIES - 1) + (True,):
        try:
            await plane.once(what, call)
        except NotThere:
            return False
        except Unknown as failure:
            if is_last:
                raise
            await plane.sleep(max(plane.pace.retry_seconds, failure.wait_seconds))
        else:
            return True
    raise AssertionError


async def list_files(plane: ControlPlane) -> Sequence[UploadedFile]:
    """Return the files of training and its results, newest first; raises `CallFailed`."""
    found: list[UploadedFile] = []
    for purpose in PURPOSES:

        async def call(headers: Mapping[str, str], purpose: str = purpose) -> list[UploadedFile]:
            pages = plane.client.files.list(purpose=purpose, extra_headers=headers)
            # Some services ignore the purpose.
            return [uploaded_file(each) async for each in pages if each.purpose == purpose]

        found += await plane.repeat("the list of files", call)
    return found
