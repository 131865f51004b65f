"""Which calls of uploads, fine-tuning jobs and models are there, and what is the reply?

It must not know how a job proceeds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

from aiohttp import BodyPartReader, web

from batchscore.simulator.batch.calls import Call, Outcome, json_reply, page_reply
from batchscore.simulator.batch.errors import missing_parameter, refused
from batchscore.simulator.batch.files import UploadForm
from batchscore.simulator.batch.projects import Project
from batchscore.simulator.error_replies import (
    Rejection,
    ServiceReply,
    Surface,
    resource_not_found,
    unknown_url,
)
from batchscore.simulator.finetune.job import TuningJob
from batchscore.simulator.finetune.models import base_model
from batchscore.simulator.finetune.objects import checkpoint_object, event_object
from batchscore.simulator.finetune.uploads import MOST_PART_BYTES, SimulatedUpload
from batchscore.simulator.service import parse_body

#: Default and maximum of `limit`.
_JOB_PAGE, _EVENT_PAGE, _CHECKPOINT_PAGE = (20, 100), (20, 100), (10, 100)
_PIECE = 2**18
#: The purposes of files that can be imported.
_IMPORTED = ("fine-tune", "batch")
# What a client offers for import is on this machine only.
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: it might lead away from this machine."""


_direct = build_opener(ProxyHandler({}), _NoRedirects)


def _unknown(request: web.Request, surface: Surface) -> Rejection:
    is_openai = surface is Surface.OPENAI
    return Rejection(unknown_url(request.method, request.path) if is_openai else resource_not_found())


async def _create_upload(project: Project, request: web.Request, surface: Surface) -> Outcome:
    if surface is Surface.AZURE_V1:
        raise _unknown(request, surface)
    upload = project.tuning.uploads.create(parse_body(await request.read()), surface)
    return json_reply(project.tuning.uploads.to_json(upload))


def _upload_of(project: Project, request: web.Request, surface: Surface) -> SimulatedUpload:
    identifier = request.match_info["id"]
    if surface is Surface.AZURE_V1:
        raise _unknown(request, surface)
    upload = project.tuning.uploads.get(identifier)
    if upload is None:
        raise refused(surface, f"No such Upload object: {identifier}", param="upload_id", status=404)
    return upload


async def _add_part(project: Project, request: web.Request, surface: Surface) -> Outcome:
    upload = _upload_of(project, request, surface)
    path = await _receive_part(request, project.folder)
    if path is None:
        raise missing_parameter(surface, "data")
    part = project.tuning.uploads.add_part(upload, path, surface)
    now = int(project.clock.now())
    return json_reply({"object": "upload.part", "id": part, "created_at": now, "upload_id": upload.id})


async def _receive_part(request: web.Request, folder: Path) -> Path | None:
    """Write the data of a part to the folder; None if there are none."""
    if request.content_type != "multipart/form-data":
        return None
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if isinstance(part, BodyPartReader) and part.name == "data":
            path = folder / f"part-{uuid.uuid4().hex}"
            size = 0
            with path.open("wb") as target:
                while size <= MOST_PART_BYTES and (piece := await part.read_chunk(_PIECE)):
                    size += len(piece)
                    target.write(piece)
            return path
    return None


async def _complete_upload(project: Project, request: web.Request, surface: Surface) -> Outcome:
    upload = _upload_of(project, request, surface)
    project.tuning.uploads.complete(upload, parse_body(await request.read()), surface)
    return json_reply(project.tuning.uploads.to_json(upload))


async def _cancel_upload(project: Project, request: web.Request, surface: Surface) -> Outcome:
    upload = _upload_of(project, request, surface)
    project.tuning.uploads.cancel(upload, surface)
    return json_reply(project.tuning.uploads.to_json(upload))


async def _import_file(project: Project, request: web.Request, surface: Surface) -> Outcome:
    if surface is not Surface.AZURE:
        raise _unknown(request, surface)
    body = parse_body(await request.read())
    for name in ("purpose", "filename", "content_url"):
        if not isinstance(body.get(name), str):
            raise missing_parameter(surface, name)
    if body["purpose"] not in _IMPORTED or not body["filename"].endswith(".jsonl"):
        raise refused(surface, "Only files of JSON Lines for fine-tuning and batches can be imported.")
    path = project.folder / f"import-{uuid.uuid4().hex}"
    content = await asyncio.to_thread(_fetch, body["content_url"])
    path.write_bytes(content or b"")
    file = project.files.add_upload(UploadForm(path, body["filename"], body["purpose"]), surface)
    if content is None:
        project.tuning.training.fail_import(file)
    location = f"{request.url.origin()}/openai/files/{file.id}"
    return json_reply(project.files.to_json(file), 201, location=location)


def _fetch(url: str) -> bytes | None:
    """Return what is at a URL on this machine; None if there is nothing."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname not in _LOCAL:
            return None
        with _direct.open(url, timeout=10) as reply:
            found: bytes = reply.read()
            return found
    except (URLError, OSError, ValueError):
        return None


async def _create_job(project: Project, request: web.Request, surface: Surface) -> Outcome:
    job = project.tuning.jobs.create(parse_body(await request.read()), surface)
    shown = project.tuning.jobs.object_of(job)
    if surface is not Surface.AZURE:
        return json_reply(shown)
    return json_reply(shown, 201, location=f"{request.url.origin()}/openai/fine_tuning/jobs/{job.id}")


async def _list_jobs(project: Project, request: web.Request, surface: Surface) -> Outcome:
    wanted = {
        name[len("metadata[") : -1]: value
        for name, value in request.query.items()
        if project.tuning.rules.metadata and name.startswith("metadata[") and name.endswith("]")
    }
    found = [
        project.tuning.jobs.object_of(job)
        for job in project.tuning.jobs.newest()
        if wanted.items() <= dict(job.request.metadata or {}).items()
        and not (request.query.get("metadata") == "null" and job.request.metadata)
    ]
    return page_reply(found, request, surface, _JOB_PAGE)


def _job_of(project: Project, request: web.Request, surface: Surface) -> TuningJob:
    identifier = request.match_info["id"]
    job = project.tuning.jobs.get(identifier)
    if job is None:
        message = f"Could not find fine tune: {identifier}"
        raise refused(surface, message, param="fine_tune_id", code="fine_tune_not_found", status=404)
    return job


async def _get_job(project: Project, request: web.Request, surface: Surface) -> Outcome:
    return json_reply(project.tuning.jobs.object_of(_job_of(project, request, surface)))


async def _delete_job(project: Project, request: web.Request, surface: Surface) -> Outcome:
    if surface is not Surface.AZURE:
        raise _unknown(request, surface)
    project.tuning.delete_job(_job_of(project, request, surface))
    return ServiceReply(204, b"")


def _changing(change: Callable[[Project, TuningJob], str | None]) -> Callable[..., Any]:
    """Return the call that changes a job."""

    async def act(project: Project, request: web.Request, surface: Surface) -> Outcome:
        job = _job_of(project, request, surface)
        problem = change(project, job)
        if problem is not None:
            code = None if surface is Surface.OPENAI else "unexpectedEntityState"
            raise refused(surface, problem, code=code)
        return json_reply(project.tuning.jobs.object_of(job))

    return act


def _cancel(project: Project, job: TuningJob) -> str | None:
    project.tuning.jobs.free_place()
    return job.cancel(project.clock.now())


async def _list_events(project: Project, request: web.Request, surface: Surface) -> Outcome:
    job = _job_of(project, request, surface)
    found = [event_object(event, surface) for event in reversed(job.events)]
    after, repeats = request.query.get("after"), project.tuning.rules.repeats_events
    places = [place for place, one in enumerate(found) if one["id"] == after]
    if repeats and places:
        # The page begins earlier than it should.
        found = found[max(0, places[0] + 1 - repeats) :]
        request = request.clone(rel_url=request.rel_url.without_query_params("after"))
    return page_reply(found, request, surface, _EVENT_PAGE)


async def _list_checkpoints(project: Project, request: web.Request, surface: Surface) -> Outcome:
    job = _job_of(project, request, surface)
    found = [checkpoint_object(each, job) for each in reversed(job.checkpoints)]
    return page_reply(found, request, surface, _CHECKPOINT_PAGE)


#: All calls, at each door.
TUNING_CALLS = (
    Call("POST", "/uploads", "create_upload", _create_upload),
    Call("POST", "/uploads/{id}/parts", "add_part", _add_part),
    Call("POST", "/uploads/{id}/complete", "complete_upload", _complete_upload),
    Call("POST", "/uploads/{id}/cancel", "cancel_upload", _cancel_upload),
    Call("POST", "/files/import", "import_file", _import_file),
    Call("POST", "/fine_tuning/jobs", "create_job", _create_job),
    Call("GET", "/fine_tuning/jobs", "list_jobs", _list_jobs),
    Call("GET", "/fine_tuning/jobs/{id}", "get_job", _get_job),
    Call("DELETE", "/fine_tuning/jobs/{id}", "delete_job", _delete_job),
    Call("POST", "/fine_tuning/jobs/{id}/cancel", "cancel_job", _changing(_cancel)),
    Call(
        *("POST", "/fine_tuning/jobs/{id}/pause", "pause_job"),
        _changing(lambda project, job: job.pause(project.clock.now())),
    ),
    Call(
        *("POST", "/fine_tuning/jobs/{id}/resume", "resume_job"),
        _changing(lambda project, job: job.resume(project.clock.now())),
    ),
    Call("GET", "/fine_tuning/jobs/{id}/events", "list_events", _list_events),
    Call("GET", "/fine_tuning/jobs/{id}/checkpoints", "list_checkpoints", _list_checkpoints),
)


def model_calls(names: list[str]) -> tuple[Call, ...]:
    """Return the calls of models. `names` are those that are served besides the tuned ones."""

    async def list_models(project: Project, _: web.Request, surface: Surface) -> Outcome:
        return json_reply({"object": "list", "data": project.tuning.model_objects(names, surface)})

    async def get_model(project: Project, request: web.Request, surface: Surface) -> Outcome:
        tuning, name = project.tuning, request.match_info["id"]
        tuning.step()
        model = tuning.models.tuned(name)
        if model is not None and tuning.sees(model):
            return json_reply(tuning.models.tuned_object(model, surface, tuning.rules))
        if model is None and (name in names or base_model(name) is not None):
            return json_reply(tuning.models.base_object(name, surface, tuning.rules))
        raise _no_model(surface, name)

    return (
        Call("GET", "/models", "list_models", list_models),
        Call("GET", "/models/{id}", "get_model", get_model),
        Call("DELETE", "/models/{id}", "delete_model", _delete_model),
    )


def _no_model(surface: Surface, name: str) -> Rejection:
    message = f"The model '{name}' does not exist"
    return refused(surface, message, param="model", code="model_not_found", status=404)


async def _delete_model(project: Project, request: web.Request, surface: Surface) -> Outcome:
    tuning, name = project.tuning, request.match_info["id"]
    tuning.step()
    if surface is Surface.AZURE:
        raise _unknown(request, surface)
    model = tuning.models.tuned(name)
    if model is None:
        if base_model(name) is not None:
            raise refused(surface, f"The model '{name}' is not yours.", code="forbidden", status=403)
        raise _no_model(surface, name)
    if not tuning.rules.may_delete:
        message = "You have insufficient permissions for this operation: only an owner deletes a model."
        raise refused(surface, message, code="insufficient_permissions", status=403)
    tuning.delete_model(model, surface)
    return json_reply({"id": name, "object": "model", "deleted": True})
