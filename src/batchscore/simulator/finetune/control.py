"""How does a test script the fine-tuning of a project, and read its meter of money?

It must not know how a call is answered: it reads and writes only the project's state.

    PATCH  /_simulator/projects/NAME/tuning          change some of `FineTuneRules`
    GET    /_simulator/projects/NAME/meter           what training and deployments cost until now
    GET    /_simulator/projects/NAME/token           a token as App Service's identity endpoint gives it
"""

from __future__ import annotations

import time

import orjson
from aiohttp import web

from batchscore.simulator.batch.projects import Projects
from batchscore.simulator.control import control_reply, guard

#: The names of audiences in tokens.
_AUDIENCES = {
    "https://management.azure.com": "management",
    "https://cognitiveservices.azure.com": "cognitiveservices",
    "https://ai.azure.com": "ai",
}
_ONE = "/_simulator/projects/{project}"


def tuning_control_routes(projects: Projects, key: str) -> list[web.RouteDef]:
    """Return the routes of the control API."""

    async def change(request: web.Request) -> web.StreamResponse:
        project = projects.get(request.match_info["project"])
        project.tuning.change_rules(orjson.loads(await request.read()))
        return control_reply({})

    async def meter(request: web.Request) -> web.StreamResponse:
        project = projects.get(request.match_info["project"])
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
        web.get(_ONE + "/token", guard(token)),
        web.patch(_ONE + "/tuning", guard(change)),
        web.get(_ONE + "/meter", guard(meter)),
    ]
