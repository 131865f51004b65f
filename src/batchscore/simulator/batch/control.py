"""How does a test script the Batch API and the fine-tuning of a project, and read its books?

It must not know how a call is answered: it reads and writes only the project's state.

    GET    /_simulator/projects/NAME                 books and batches; ?call=C&count=N&happened=1&timeout=S
                                                     waits for N calls of a kind, or for what they do
    DELETE /_simulator/projects/NAME                 forget it: files, batches, books, rules, faults
    PATCH  /_simulator/projects/NAME/rules           change some of `BatchRules`
    POST   /_simulator/projects/NAME/faults          {"calls": [CallFault …], "lines": [LineFault …]}
    DELETE /_simulator/projects/NAME/faults          drop the pending faults
    PUT    /_simulator/projects/NAME/clock           {"advance": SECONDS, "running": BOOL}; returns when all
                                                     batches have done what is due by then
    GET    /_simulator/projects/NAME/requests        the last calls; the body of an upload is its fields
    GET    /_simulator/projects/NAME/executions      how often each custom_id was executed; ?at_least=2
    PATCH  /_simulator/projects/NAME/tuning          change some of `FineTuneRules`
    GET    /_simulator/projects/NAME/meter           what training and deployments cost until now
    GET    /_simulator/projects/NAME/token           a token as App Service's identity endpoint gives it
"""

from __future__ import annotations

import asyncio
import time
from math import inf

import orjson
from aiohttp import web

from batchscore.simulator.batch.projects import Project, Projects
from batchscore.simulator.control import control_reply, guard

_ONE = "/_simulator/projects/{project}"
#: The names of audiences in tokens.
_AUDIENCES = {
    "https://management.azure.com": "management",
    "https://cognitiveservices.azure.com": "cognitiveservices",
    "https://ai.azure.com": "ai",
}


def project_control_routes(projects: Projects, key: str) -> list[web.RouteDef]:
    """Return the routes of the control API."""

    def project_of(request: web.Request) -> Project:
        return projects.get(request.match_info["project"])

    async def show(request: web.Request) -> web.StreamResponse:
        project = project_of(request)
        count = int(request.query.get("count", "0"))
        ends = time.monotonic() + float(request.query.get("timeout", "5"))
        counts = project.books.happened if request.query.get("happened") else project.books.calls
        call = request.query.get("call", "")
        while counts[call] < count and time.monotonic() < ends:  # noqa: ASYNC110 - only tests wait
            await asyncio.sleep(0.002)
        return control_reply({**project.to_json(), "reached": counts[call] >= count})

    async def forget(request: web.Request) -> web.StreamResponse:
        projects.remove(request.match_info["project"])
        return control_reply({})

    async def change(request: web.Request) -> web.StreamResponse:
        project_of(request).change_rules(orjson.loads(await request.read()))
        return control_reply({})

    async def add_faults(request: web.Request) -> web.StreamResponse:
        given = orjson.loads(await request.read())
        project_of(request).faults.add(calls=given.get("calls", []), lines=given.get("lines", []))
        return control_reply({}, 201)

    async def drop_faults(request: web.Request) -> web.StreamResponse:
        project_of(request).faults.clear()
        return control_reply({})

    async def set_clock(request: web.Request) -> web.StreamResponse:
        project = project_of(request)
        given = orjson.loads(await request.read())
        if given.get("running") is not None:
            project.clock.run(running=given["running"])
        project.clock.advance(given.get("advance", 0))
        await project.batches.step(inf)
        project.tuning.step()
        return control_reply({"now": project.clock.now()})

    async def requests(request: web.Request) -> web.StreamResponse:
        return control_reply(project_of(request).books.requests())

    async def executions(request: web.Request) -> web.StreamResponse:
        at_least = int(request.query.get("at_least", "1"))
        return control_reply(project_of(request).books.executions(at_least))

    async def change_tuning(request: web.Request) -> web.StreamResponse:
        project_of(request).tuning.change_rules(orjson.loads(await request.read()))
        return control_reply({})

    async def meter(request: web.Request) -> web.StreamResponse:
        project = project_of(request)
        return control_reply(project.tuning.meter(project.files.total()[0]))

    async def token(request: web.Request) -> web.StreamResponse:
        if "x-identity-header" not in request.headers:
            return control_reply({"statusCode": 401, "message": "X-IDENTITY-HEADER is missing"}, 401)
        resource = request.query.get("resource", "")
        audience = _AUDIENCES.get(resource.removesuffix("/"), "other")
        return control_reply(
            {
                "access_token": f"{key}~{audience}@{request.match_info['project']}",
                "expires_on": str(int(time.time()) + 86_400),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    return [
        web.get(_ONE, guard(show)),
        web.delete(_ONE, guard(forget)),
        web.patch(_ONE + "/rules", guard(change)),
        web.post(_ONE + "/faults", guard(add_faults)),
        web.delete(_ONE + "/faults", guard(drop_faults)),
        web.put(_ONE + "/clock", guard(set_clock)),
        web.get(_ONE + "/requests", guard(requests)),
        web.get(_ONE + "/executions", guard(executions)),
        web.get(_ONE + "/token", guard(token)),
        web.patch(_ONE + "/tuning", guard(change_tuning)),
        web.get(_ONE + "/meter", guard(meter)),
    ]
