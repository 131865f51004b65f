"""How are scripts written and records read from outside?

It must not know how a request is answered: it reads and writes the books alone.

    GET    /_simulator                                    what runs here
    DELETE /_simulator                                    reset every deployment
    GET    /_simulator/deployments/NAME                   statistics; ?count=N&timeout=S waits for N requests
    DELETE /_simulator/deployments/NAME                   reset: script, records, limits
    POST   /_simulator/deployments/NAME/behaviours        add one behaviour (an object) or several (an array)
    GET    /_simulator/deployments/NAME/requests          the last requests; ?last=N
    PUT    /_simulator/deployments/NAME/limits            {"rpm", "tpm", "burst_seconds"}; null: no limit
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator.books import Books
from batchscore.simulator.script import Behaviour
from batchscore.simulator.settings import SimulatorSettings

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ONE = "/_simulator/deployments/{deployment}"


def _reply(value: Any, status: int = 200) -> web.Response:
    headers = {"content-type": "application/json", "x-simulator": "batchscore"}
    return web.Response(status=status, body=orjson.dumps(value), headers=headers)


def _guarded(handler: _Handler) -> _Handler:
    """Let in only this machine, and no web page that a browser here shows; say 400 to what is wrong."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        local = request.remote is not None and ipaddress.ip_address(request.remote).is_loopback
        named = request.host.rsplit(":", 1)[0] in {"127.0.0.1", "localhost"}
        if not local or not named or "origin" in request.headers:
            return _reply({"error": "the control surface is for this machine only"}, 403)
        try:
            return await handler(request)
        except (ValueError, TypeError) as error:
            return _reply({"error": str(error)}, 400)

    return guarded


def control_routes(settings: SimulatorSettings, books: Books) -> list[web.RouteDef]:
    """Give the routes of the control surface."""

    async def about(_: web.Request) -> web.StreamResponse:
        known = {name: book.statistics() for name, book in books.by_name.items()}
        return _reply({"simulator": "batchscore", "dimensions": settings.dimensions, "deployments": known})

    async def reset_all(_: web.Request) -> web.StreamResponse:
        for book in books.by_name.values():
            book.reset()
        return _reply({})

    async def statistics(request: web.Request) -> web.StreamResponse:
        book = books.of(request.match_info["deployment"])
        count = int(request.query.get("count", "0"))
        reached = await book.wait_for(count, float(request.query.get("timeout", "5")))
        return _reply({**book.statistics(), "reached": reached})

    async def reset(request: web.Request) -> web.StreamResponse:
        books.of(request.match_info["deployment"]).reset()
        return _reply({})

    async def add(request: web.Request) -> web.StreamResponse:
        sent = orjson.loads(await request.read())
        behaviours = [Behaviour.from_json(one) for one in (sent if isinstance(sent, list) else [sent])]
        script = books.of(request.match_info["deployment"]).script
        for behaviour in behaviours:
            script.add(behaviour)
        return _reply({"behaviours_left": len(script)}, 201)

    async def requests(request: web.Request) -> web.StreamResponse:
        entries = list(books.of(request.match_info["deployment"]).entries)
        last = request.query.get("last")
        chosen = entries if last is None else entries[max(0, len(entries) - int(last)) :]
        return _reply([entry.to_json() for entry in chosen])

    async def limits(request: web.Request) -> web.StreamResponse:
        sent = orjson.loads(await request.read())
        checked = SimulatorSettings(
            rpm=sent.get("rpm"),
            tpm=sent.get("tpm"),
            burst_seconds=sent.get("burst_seconds") or settings.burst_seconds,
        )
        book = books.of(request.match_info["deployment"])
        book.set_limits(checked.rpm, checked.tpm, checked.burst_seconds)
        return _reply({})

    return [
        web.get("/_simulator", _guarded(about)),
        web.delete("/_simulator", _guarded(reset_all)),
        web.get(_ONE, _guarded(statistics)),
        web.delete(_ONE, _guarded(reset)),
        web.post(_ONE + "/behaviours", _guarded(add)),
        web.get(_ONE + "/requests", _guarded(requests)),
        web.put(_ONE + "/limits", _guarded(limits)),
    ]
