"""How does a client write scripts and read records?

It must not know how a request is answered: it reads and writes only the deployments' state.

    GET    /_simulator/deployments/NAME                   statistics; ?count=N&timeout=S waits for N requests
    DELETE /_simulator/deployments/NAME                   reset: script, records, limits
    POST   /_simulator/deployments/NAME/behaviours        add an array of behaviours
    GET    /_simulator/deployments/NAME/requests          the last requests
    PUT    /_simulator/deployments/NAME/limits            {"rpm", "tpm", "burst_seconds"}; null means no limit
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator.script import Behaviour
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.state import SimulatedDeployment, SimulatedDeployments

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ONE = "/_simulator/deployments/{deployment}"


def control_reply(value: Any, status: int = 200) -> web.Response:
    """Return a reply of the control API."""
    headers = {"content-type": "application/json", "x-simulator": "batchscore"}
    return web.Response(status=status, body=orjson.dumps(value), headers=headers)


def guard(handler: _Handler) -> _Handler:
    """Accept only clients on this machine, and no web page in a browser. Reply 400 to invalid requests."""

    async def guard(request: web.Request) -> web.StreamResponse:
        local = request.remote is not None and ipaddress.ip_address(request.remote).is_loopback
        named = request.host.rsplit(":", 1)[0] in {"127.0.0.1", "localhost"}
        if not local or not named or "origin" in request.headers:
            return control_reply({"error": "the control API accepts only clients on this machine"}, 403)
        try:
            return await handler(request)
        except (ValueError, TypeError) as error:
            return control_reply({"error": str(error)}, 400)

    return guard


def control_routes(states: SimulatedDeployments) -> list[web.RouteDef]:
    """Return the routes of the control API."""

    def state_of(request: web.Request) -> SimulatedDeployment:
        return states.get(request.match_info["deployment"])

    async def statistics(request: web.Request) -> web.StreamResponse:
        state = state_of(request)
        count = int(request.query.get("count", "0"))
        reached = await state.wait_for(count, float(request.query.get("timeout", "5")))
        return control_reply({**state.statistics(), "reached": reached})

    async def reset(request: web.Request) -> web.StreamResponse:
        state_of(request).reset()
        return control_reply({})

    async def add(request: web.Request) -> web.StreamResponse:
        behaviours = [Behaviour(**one) for one in orjson.loads(await request.read())]
        for behaviour in behaviours:
            state_of(request).script.add(behaviour)
        return control_reply({}, 201)

    async def requests(request: web.Request) -> web.StreamResponse:
        return control_reply([record.to_json() for record in state_of(request).records])

    async def limits(request: web.Request) -> web.StreamResponse:
        checked = SimulatorSettings(**orjson.loads(await request.read()))
        state_of(request).set_limits(checked.rpm, checked.tpm, checked.burst_seconds)
        return control_reply({})

    return [
        web.get(_ONE, guard(statistics)),
        web.delete(_ONE, guard(reset)),
        web.post(_ONE + "/behaviours", guard(add)),
        web.get(_ONE + "/requests", guard(requests)),
        web.put(_ONE + "/limits", guard(limits)),
    ]
