"""How is a call of a project received and answered, unless a fault decides otherwise?

It must not know what the calls do. A fault decides whether a call happens and how its reply is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import orjson
from aiohttp import web

from batchscore.simulator import error_replies
from batchscore.simulator.batch.download import send_file
from batchscore.simulator.batch.errors import PREFIXES, refused
from batchscore.simulator.batch.faults import CallFault
from batchscore.simulator.batch.files import SimulatedFile
from batchscore.simulator.batch.projects import Project, Projects, split_key
from batchscore.simulator.error_replies import Rejection, ServiceReply, Surface
from batchscore.simulator.script import Behaviour
from batchscore.simulator.send import replace_reply, send_reply
from batchscore.simulator.state import SimulatedDeployments

#: A whole reply, or the file that is the reply. A call may also raise `Rejection`.
Outcome: TypeAlias = ServiceReply | SimulatedFile
Act: TypeAlias = Callable[[Project, web.Request, Surface], Awaitable[Outcome]]
#: The kind of authentication ("key", "bearer", None), and whether the client is authorized.
Authenticate: TypeAlias = Callable[[web.Request], tuple[str | None, bool]]


class Call(NamedTuple):
    """One call: its method, its path below a door, its name in faults and books, and what it does."""

    method: str
    path: str
    name: str
    act: Act


@dataclass(frozen=True)
class Door:
    """Where calls arrive: which are accepted, and the reply to the others.

    `unauthorized` words the reply to a client that is not let in: `presented` is "key", "bearer" or None.
    `unversioned` is the reply to a request without `api-version`, where one must be named.
    """

    surface: Surface
    prefix: str
    authenticate: Authenticate
    unauthorized: Callable[..., ServiceReply]
    unversioned: ServiceReply | None = None


def model_doors(authenticate: Authenticate) -> list[Door]:
    """Return the doors to files, batches and jobs: one on each surface."""
    return [
        Door(
            surface,
            prefix,
            authenticate,
            partial(error_replies.unauthorized, surface),
            error_replies.resource_not_found() if surface is Surface.AZURE else None,
        )
        for surface, prefix in PREFIXES.items()
    ]


def call_routes(
    projects: Projects, states: SimulatedDeployments, door: Door, calls: Iterable[Call]
) -> list[web.RouteDef]:
    """Return the routes of calls at a door."""

    async def serve(request: web.Request, *, call: Call) -> web.StreamResponse:
        authentication, allowed = door.authenticate(request)
        if door.unversioned is not None and not request.query.get("api-version"):
            return send_reply(door.unversioned)
        if not allowed:
            return send_reply(door.unauthorized(presented=authentication))
        project = projects.get(project_name(request))
        record = states.new_record(request.path_qs, request.headers, authentication)
        project.books.record_call(call.name, record)
        if request.content_type == "application/json":
            record.raw = await request.read()
        try:
            response = await _answer(request, project, door.surface, call)
            if request.transport is not None and not request.transport.is_closing():
                record.status = response.status
            return response
        finally:
            record.status = record.status or 0
            if "fields" in request:
                record.raw = orjson.dumps(request["fields"])

    return [
        web.route(call.method, door.prefix + call.path, partial(serve, call=call), name=None)
        for call in calls
    ]


def project_name(request: web.Request) -> str:
    """Return the name of the project that a request's key or token belongs to."""
    bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
    return split_key(request.headers.get("api-key", bearer))[1]


async def _answer(request: web.Request, project: Project, surface: Surface, call: Call) -> web.StreamResponse:
    """Act and reply, unless a fault says otherwise."""
    fault = project.faults.for_call(call.name)
    if fault is not None:
        await asyncio.sleep(fault.latency)
        if fault.replaces_reply and not fault.happened:
            async for _ in request.content.iter_chunked(2**18):
                pass
            return await replace_reply(request, _as_behaviour(fault), surface)
    try:
        outcome = await call.act(project, request, surface)
    except Rejection as rejection:
        outcome = rejection.reply
    if isinstance(outcome, SimulatedFile) or outcome.status < 400:
        project.books.happened[call.name] += 1
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


def json_reply(value: Any, status: int = 200, **headers: str) -> ServiceReply:
    """Return a reply with a JSON body."""
    return ServiceReply(status, orjson.dumps(value), headers)


def page_reply(
    objects: list[dict[str, Any]], request: web.Request, surface: Surface, bounds: tuple[int, int]
) -> ServiceReply:
    """Return the page that a list call asks for; raises `Rejection`."""
    default, most = bounds
    limit = request.query.get("limit", str(default))
    if not limit.isdecimal() or not 1 <= int(limit) <= most:
        message = f"Invalid 'limit': must be between 1 and {most}."
        raise refused(surface, message, param="limit", code="invalid_value")
    after = request.query.get("after")
    start = 0
    if after:
        places = [place for place, one in enumerate(objects) if one["id"] == after]
        if not places:
            raise refused(surface, f"No object found with id '{after}'.", param="after")
        start = places[0] + 1
    shown = objects[start : start + int(limit)]
    return json_reply(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": start + len(shown) < len(objects),
        }
    )
