"""Which models does a service have, until when, does one answer, and how is a trained one deleted?

Deleting is repeated if its reply is lost: what is gone stays gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from batchscore.endpoint.target import Target
from batchscore.provider.batch_object import fields_of, moment, name_of, text_of
from batchscore.provider.client import ControlPlane, NotThere, Refused, Unknown

#: Refusals that say that a model cannot be reached by this key, and not that it has refused a request.
_OF_KEYS = frozenset({401, 403})

#: What the smallest request asks for. A refusal of it is an answer, too.
_PROBE: Mapping[str, Any] = {"messages": [{"role": "user", "content": "."}], "max_completion_tokens": 1}

#: How often something is deleted that the service does not delete for now.
MOST_TRIES = 4


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a service says of a model. `trainable` is `None` if it does not say.

    `trained_until` and `used_until` are seconds since the epoch, `None` if no end is announced.
    """

    id: str
    trainable: bool | None
    lifecycle: str
    trained_until: float | None
    used_until: float | None
    created: float | None = None


async def look_at_model(plane: ControlPlane, model: str) -> ModelFacts:
    """Return what the service says of a model. Raises `CallFailed`; `NotThere` if it has no such model."""
    retrieve = plane.client.models.retrieve
    found = await plane.repeat("a look at the model", lambda headers: retrieve(model, extra_headers=headers))
    return model_facts(found)


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
    return await delete_at(plane, "the deletion of the model", f"/models/{quote(model, safe=':')}")


async def delete_job(plane: ControlPlane, job: str) -> bool:
    """Delete a job with its model and its events (Azure's dated surface); False if there was none."""
    return await delete_at(plane, "the deletion of the job", f"/fine_tuning/jobs/{quote(job, safe='')}")


async def delete_at(plane: ControlPlane, what: str, path: str) -> bool:
    """Delete what is at a path; False if there was none. Raises `CallFailed`."""
    delete = plane.client.delete
    return await is_deleted(
        plane, what, lambda headers: delete(path, cast_to=type(None), options={"headers": dict(headers)})
    )


async def is_deleted(
    plane: ControlPlane, what: str, call: Callable[[Mapping[str, str]], Awaitable[object]]
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


def model_facts(found: Any) -> ModelFacts:
    """Return what a model's object says; a day counts to its begin (UTC)."""
    given = fields_of(found)
    ends = fields_of(given.get("deprecation"))
    trainable = fields_of(given.get("capabilities")).get("fine_tune")
    return ModelFacts(
        id=text_of(given.get("id")),
        trainable=trainable if isinstance(trainable, bool) else None,
        lifecycle=name_of(given.get("lifecycle_status")),
        trained_until=moment(ends.get("fine_tune")),
        used_until=moment(ends.get("inference")) or moment(given.get("shutdown_date")),
        created=moment(given.get("created_at") or given.get("created")),
    )
