"""Which calls of files and batches are there, and what is the reply?

It must not know how a batch proceeds.
"""

from __future__ import annotations

from aiohttp import web

from batchscore.simulator.batch.calls import Call, Outcome, json_reply, page_reply
from batchscore.simulator.batch.errors import no_file, refused
from batchscore.simulator.batch.files import SimulatedFile
from batchscore.simulator.batch.lifecycle import SimulatedBatch
from batchscore.simulator.batch.projects import Project
from batchscore.simulator.batch.upload import receive_upload
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.service import parse_body

#: Default and maximum of `limit`.
_BATCH_PAGE = (20, 100)
_FILE_PAGE = (10_000, 10_000)


async def _upload(project: Project, request: web.Request, surface: Surface) -> Outcome:
    file = project.files.add_upload(await receive_upload(request, project.folder, surface), surface)
    document = project.files.to_json(file)
    if surface is not Surface.AZURE:
        return json_reply(document)
    return json_reply(document, 201, location=f"{request.url.origin()}/openai/files/{file.id}")


async def _list_files(project: Project, request: web.Request, surface: Surface) -> Outcome:
    purpose = request.query.get("purpose")
    found = [project.files.to_json(file) for file in project.files.all() if purpose in {None, file.purpose}]
    if surface is Surface.AZURE:
        # It has no pages, but the official client asks for the next one as long as there is something.
        ended = any(one["id"] == request.query.get("after") for one in found)
        return json_reply({"object": "list", "data": [] if ended else found})
    if request.query.get("order", "desc") != "asc":
        found.reverse()
    return page_reply(found, request, surface, _FILE_PAGE)


def _file_of(project: Project, request: web.Request, surface: Surface) -> SimulatedFile:
    file = project.files.get(request.match_info["id"])
    if file is None:
        raise no_file(surface, request.match_info["id"])
    return file


async def _get_file(project: Project, request: web.Request, surface: Surface) -> Outcome:
    return json_reply(project.files.to_json(_file_of(project, request, surface)))


async def _download(project: Project, request: web.Request, surface: Surface) -> Outcome:
    return _file_of(project, request, surface)


async def _delete_file(project: Project, request: web.Request, surface: Surface) -> Outcome:
    file = _file_of(project, request, surface)
    # What has read it until now needs it no more.
    project.tuning.step()
    project.files.delete(file.id)
    return json_reply({"id": file.id, "object": "file", "deleted": True})


async def _create(project: Project, request: web.Request, surface: Surface) -> Outcome:
    batch = await project.batches.create(parse_body(await request.read()), surface)
    return json_reply(project.batches.object_of(batch))


async def _list_batches(project: Project, request: web.Request, surface: Surface) -> Outcome:
    if not project.rules.listing:
        raise refused(surface, "Batches cannot be listed.", code="not_implemented", status=501)
    return page_reply(await project.batches.listed(), request, surface, _BATCH_PAGE)


async def _get_batch(project: Project, request: web.Request, surface: Surface) -> Outcome:
    foreign = project.batches.foreign(request.match_info["id"])
    return json_reply(foreign or project.batches.object_of(await _batch_of(project, request, surface)))


async def _batch_of(project: Project, request: web.Request, surface: Surface) -> SimulatedBatch:
    identifier = request.match_info["id"]
    batch = await project.batches.get(identifier)
    if batch is None:
        raise refused(surface, f"No batch found with id '{identifier}'.", status=404)
    return batch


async def _cancel(project: Project, request: web.Request, surface: Surface) -> Outcome:
    batch = await _batch_of(project, request, surface)
    await project.batches.cancel(batch, surface)
    return json_reply(project.batches.object_of(batch))


#: All calls, at each door.
BATCH_CALLS = (
    Call("POST", "/files", "upload", _upload),
    Call("GET", "/files", "list_files", _list_files),
    Call("GET", "/files/{id}", "get_file", _get_file),
    Call("GET", "/files/{id}/content", "download", _download),
    Call("DELETE", "/files/{id}", "delete_file", _delete_file),
    Call("POST", "/batches", "create", _create),
    Call("GET", "/batches", "list_batches", _list_batches),
    Call("GET", "/batches/{id}", "get_batch", _get_batch),
    Call("POST", "/batches/{id}/cancel", "cancel", _cancel),
)
