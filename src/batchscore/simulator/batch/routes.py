"""Which call of the Batch API is this, and what is the reply?

It must not know how a batch proceeds. A fault decides whether a call happens and how its reply is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator import error_replies
from batchscore.simulator.batch.download import send_file
from batchscore.simulator.batch.errors import PREFIXES, no_batch, no_file, refused
from batchscore.simulator.batch.faults import CallFault
from batchscore.simulator.batch.files import SimulatedFile
from batchscore.simulator.batch.projects import Project, Projects, split_key
from batchscore.simulator.batch.upload import receive_upload
from batchscore.simulator.error_replies import ServiceReply, Surface
from batchscore.simulator.script import Behaviour
from batchscore.simulator.send import replace_reply, send_reply
from batchscore.simulator.service import parse_body
from batchscore.simulator.state import SimulatedDeployments

#: A whole reply, or the file that is the reply.
_Outcome = ServiceReply | SimulatedFile
_Act = Callable[[Project, web.Request, Surface], Awaitable[_Outcome]]
#: Default and maximum of `limit`.
_BATCH_PAGE = (20, 100)
_FILE_PAGE = (10_000, 10_000)


def batch_routes(
    projects: Projects,
    states: SimulatedDeployments,
    authenticate: Callable[[web.Request], tuple[str | None, bool]],
) -> list[web.RouteDef]:
    """Return the routes of files and batches on all surfaces."""

    async def serve(request: web.Request, *, surface: Surface, call: str, act: _Act) -> web.StreamResponse:
        authentication, allowed = authenticate(request)
        if surface is Surface.AZURE and not request.query.get("api-version"):
            return send_reply(error_replies.resource_not_found())
        if not allowed:
            return send_reply(error_replies.unauthorized(surface, presented=authentication))
        project = projects.get(project_name(request))
        record = states.new_record(request.path_qs, request.headers, authentication)
        project.books.record_call(call, record)
        if request.content_type == "application/json":
            record.raw = await request.read()
        try:
            response = await _answer(request, project, surface, call, act)
            if request.transport is not None and not request.transport.is_closing():
                record.status = response.status
            return response
        finally:
            record.status = record.status or 0
            if "fields" in request:
                record.raw = orjson.dumps(request["fields"])

    return [
        web.route(method, prefix + path, partial(serve, surface=surface, call=call, act=act), name=None)
        for surface, prefix in PREFIXES.items()
        for method, path, call, act in _CALLS
    ]


def project_name(request: web.Request) -> str:
    """Return the name of the project that a request's key or token belongs to."""
    bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
    return split_key(request.headers.get("api-key", bearer))[1]


async def _answer(
    request: web.Request, project: Project, surface: Surface, call: str, act: _Act
) -> web.StreamResponse:
    """Act and reply, unless a fault says otherwise."""
    fault = project.faults.for_call(call)
    if fault is not None:
        await asyncio.sleep(fault.latency)
        if fault.replaces_reply and not fault.happened:
            async for _ in request.content.iter_chunked(2**18):
                pass
            return await replace_reply(request, _as_behaviour(fault), surface)
    outcome = await act(project, request, surface)
    if isinstance(outcome, SimulatedFile) or outcome.status < 400:
        project.books.happened[call] += 1
    if fault is not None and fault.replaces_reply:
        return await replace_reply(request, _as_behaviour(fault), surface)
    if isinstance(outcome, SimulatedFile):
        return await send_file(request, outcome, fault, ranges=project.rules.ranges)
    return send_reply(outcome)


def _as_behaviour(fault: CallFault) -> Behaviour:
    return Behaviour(
        status=fault.status,
        code=fault.code,
        message=fault.message,
        retry_after=fault.retry_after,
        drop="after" if fault.drop else None,
        hang=fault.hang,
    )


def _json(value: Any, status: int = 200, **headers: str) -> ServiceReply:
    return ServiceReply(status, orjson.dumps(value), headers)


async def _upload(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    form = await receive_upload(request, project.folder, surface)
    file = form if isinstance(form, ServiceReply) else project.files.add_upload(form, surface)
    if isinstance(file, ServiceReply):
        return file
    document = project.files.to_json(file)
    if surface is not Surface.AZURE:
        return _json(document)
    return _json(document, 201, location=f"{request.url.origin()}/openai/files/{file.id}")


async def _list_files(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    purpose = request.query.get("purpose")
    found = [project.files.to_json(file) for file in project.files.all() if purpose in {None, file.purpose}]
    if surface is Surface.AZURE:
        # It has no pages, but the official client asks for the next one as long as there is something.
        ended = any(one["id"] == request.query.get("after") for one in found)
        return _json({"object": "list", "data": [] if ended else found})
    if request.query.get("order", "desc") != "asc":
        found.reverse()
    return _page(found, request, surface, _FILE_PAGE)


async def _get_file(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    file = project.files.get(request.match_info["id"])
    if file is None:
        return no_file(surface, request.match_info["id"])
    return _json(project.files.to_json(file))


async def _download(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    return project.files.get(request.match_info["id"]) or no_file(surface, request.match_info["id"])


async def _delete_file(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    file = project.files.get(request.match_info["id"])
    if file is None:
        return no_file(surface, request.match_info["id"])
    project.files.delete(file.id)
    return _json({"id": file.id, "object": "file", "deleted": True})


async def _create(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    body = parse_body(await request.read())
    batch = body if isinstance(body, ServiceReply) else await project.batches.create(body, surface)
    return batch if isinstance(batch, ServiceReply) else _json(project.batches.object_of(batch))


async def _list_batches(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    if not project.rules.listing:
        return refused(surface, "Batches cannot be listed.", code="not_implemented", status=501)
    return _page(await project.batches.listed(), request, surface, _BATCH_PAGE)


async def _get_batch(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    identifier = request.match_info["id"]
    batch = await project.batches.get(identifier)
    document = project.batches.foreign(identifier) if batch is None else project.batches.object_of(batch)
    return no_batch(surface, identifier) if document is None else _json(document)


async def _cancel(project: Project, request: web.Request, surface: Surface) -> _Outcome:
    identifier = request.match_info["id"]
    batch = await project.batches.get(identifier)
    if batch is None:
        return no_batch(surface, identifier)
    refusal = await project.batches.cancel(batch, surface)
    return refusal or _json(project.batches.object_of(batch))


def _page(
    objects: list[dict[str, Any]], request: web.Request, surface: Surface, bounds: tuple[int, int]
) -> ServiceReply:
    """Return the page that a list call asks for."""
    default, most = bounds
    limit = request.query.get("limit", str(default))
    if not limit.isdecimal() or not 1 <= int(limit) <= most:
        message = f"Invalid 'limit': must be between 1 and {most}."
        return refused(surface, message, param="limit", code="invalid_value")
    after = request.query.get("after")
    start = 0
    if after:
        places = [place for place, one in enumerate(objects) if one["id"] == after]
        if not places:
            return refused(surface, f"No object found with id '{after}'.", param="after")
        start = places[0] + 1
    shown = objects[start : start + int(limit)]
    return _json(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": start + len(shown) < len(objects),
        }
    )


_CALLS: tuple[tuple[str, str, str, _Act], ...] = (
    ("POST", "/files", "upload", _upload),
    ("GET", "/files", "list_files", _list_files),
    ("GET", "/files/{id}", "get_file", _get_file),
    ("GET", "/files/{id}/content", "download", _download),
    ("DELETE", "/files/{id}", "delete_file", _delete_file),
    ("POST", "/batches", "create", _create),
    ("GET", "/batches", "list_batches", _list_batches),
    ("GET", "/batches/{id}", "get_batch", _get_batch),
    ("POST", "/batches/{id}/cancel", "cancel", _cancel),
)
