"""Which deployment does a URL address, is the client authorized, and what happens in which order?

It must not know the correct reply (`service`), nor how to send it (`sending`).
"""

from __future__ import annotations

import asyncio
import hmac
import re
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from functools import partial
from os import read
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator import error_replies, sending
from batchscore.simulator.control import control_routes
from batchscore.simulator.error_replies import ErrorReply, Surface
from batchscore.simulator.faults import RandomFaults
from batchscore.simulator.limits import retry_after_headers
from batchscore.simulator.script import Behaviour
from batchscore.simulator.service import (
    OPERATIONS,
    Service,
    ServiceReply,
    encode_error,
    parse_body,
    prompt_text,
)
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.state import DeploymentStates, RequestRecord, SimulatedDeployment

_MAX_BODY_BYTES = 256 * 1024 * 1024
_OPERATION = "|".join(re.escape(name) for name in OPERATIONS)


class Simulator:
    """The HTTP server: one instance per process, with all state in `states`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.states = DeploymentStates(settings)
        self._service = Service(settings)
        self._random_faults = RandomFaults(settings)
        self._secrets = [secret.encode() for secret in (settings.key, *settings.tokens)]

    def application(self) -> web.Application:
        """Return the application with all routes."""
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        router = application.router
        for surface in Surface:
            router.add_post(
                rf"{surface.value}/{{operation:{_OPERATION}}}", partial(self._serve, surface=surface)
            )
        for path in ("/v1/models", "/openai/v1/models", "/openai/models"):
            router.add_get(path, self._models)
        router.add_routes(control_routes(self.settings, self.states))
        router.add_route("*", "/{anything:.*}", self._unknown)
        return application

    async def _serve(self, request: web.Request, surface: Surface) -> web.StreamResponse:
        """Authenticate, record and answer one request, by the script or else as the service does."""
        name = request.match_info.get("deployment")
        authentication, allowed = self._authenticate(request)
        record = self.states.new_record(request.path_qs, request.headers, authentication)
        unread = self.states.get(name).script.take_before_body() if name is not None and allowed else None
        if unread is None:
            record.raw = await request.read()
        parsed = parse_body(record.raw)
        error: ErrorReply | None = None
        if name is None:
            model = parsed.get("model") if isinstance(parsed, dict) else None
            name = model if isinstance(model, str) else ""
            if isinstance(parsed, ErrorReply):
                error = parsed
            elif not name:
                error = error_replies.invalid_request("you must provide a model parameter")
        state = self.states.get(name)
        state.record_arrival(record)
        try:
            if surface is Surface.AZURE and not request.query.get("api-version"):
                error = error_replies.resource_not_found()
            elif not allowed:
                error = error_replies.unauthorized(surface, presented=authentication)
            elif error is None and not self._service.has_deployment(name):
                error = error_replies.deployment_not_found(surface, name)
            if error is not None and unread is None:
                return self._send(record, encode_error(error))
            behaviour = unread or state.script.take(lambda: prompt_text(parsed) or str(parsed))
            return await self._answer(request, record, state, behaviour, (parsed, name, surface))
        finally:
            state.record_end(record)

    async def _answer(
        self,
        request: web.Request,
        record: RequestRecord,
        state: SimulatedDeployment,
        behaviour: Behaviour | None,
        parts: tuple[dict[str, Any] | ErrorReply, str, Surface],
    ) -> web.StreamResponse:
        """Answer by the script, or else by the limits, the random faults and the model.

        The limits are not charged for a scripted reply. They are charged before a random fault.
        """
        parsed, name, surface = parts
        if behaviour is not None and behaviour.replaces_answer:
            await asyncio.sleep(behaviour.latency)
            return await self._replace_reply(request, record, behaviour, surface)
        operation = request.match_info["operation"]
        admitted = self._service.admit(parsed, name=name, operation=operation, surface=surface, state=state)
        if isinstance(admitted, ServiceReply):
            return self._send(record, admitted)
        latency = self._random_faults.latency() + (behaviour.latency if behaviour else 0.0)
        if latency:
            await asyncio.sleep(latency)
        behaviour = behaviour or self._random_faults.draw()
        if behaviour is not None and behaviour.replaces_answer:
            return await self._replace_reply(request, record, behaviour, surface)
        reply = await self._service.answer(admitted, vector_fault=behaviour.vectors if behaviour else None)
        record.tokens, record.status = reply.tokens, reply.status
        if behaviour is not None and (behaviour.drip is not None or behaviour.truncate is not None):
            response = web.StreamResponse(status=reply.status, headers=_headers(reply))
            if behaviour.drip is not None:
                return await sending.send_slowly(request, response, reply.body, behaviour.drip)
            return await sending.send_part(request, response, reply.body, behaviour.truncate or 0.0)
        return _response(reply)

    async def _replace_reply(
        self, request: web.Request, record: RequestRecord, behaviour: Behaviour, surface: Surface
    ) -> web.StreamResponse:
        """Send a behaviour's error, or break the connection, instead of a reply."""
        if behaviour.drop is not None:
            return sending.reset_connection(request)
        if behaviour.hang is not None:
            await asyncio.sleep(behaviour.hang)
            return sending.close_connection(request)
        return self._send(record, _scripted_reply(behaviour, surface))

    def _send(self, record: RequestRecord, reply: ServiceReply) -> web.Response:
        record.status = reply.status
        return _response(reply)

    def _authenticate(self, request: web.Request) -> tuple[str | None, bool]:
        """Return the kind of authentication ("key", "bearer", None), and whether the client is authorized."""
        key = request.headers.get("api-key")
        if key is not None:
            return "key", hmac.compare_digest(key.encode(), self._secrets[0])
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None, False
        sent = token.strip().encode()
        return "bearer", any(hmac.compare_digest(sent, secret) for secret in self._secrets)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        surface = Surface.OPENAI if request.path.startswith("/v1") else Surface.AZURE
        authentication, allowed = self._authenticate(request)
        if not allowed:
            return _response(encode_error(error_replies.unauthorized(surface, presented=authentication)))
        called = [name for name in self.states.by_name if name and self._service.has_deployment(name)]
        names = sorted(self.settings.deployments or called)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
        return _response(ServiceReply(200, orjson.dumps({"object": "list", "data": models})))

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/openai/"):
            return _response(encode_error(error_replies.resource_not_found()))
        return _response(encode_error(error_replies.unknown_url(request.method, request.path)))


def _scripted_reply(behaviour: Behaviour, surface: Surface) -> ServiceReply:
    """Return the reply that a behaviour defines."""
    assert behaviour.status is not None
    headers = {} if behaviour.retry_after is None else retry_after_headers(behaviour.retry_after)
    if behaviour.text is not None:
        kind = {"content-type": behaviour.content_type}
        return ServiceReply(
            behaviour.status, behaviour.text.encode(), {**kind, **headers, **behaviour.headers}
        )
    if behaviour.body is not None:
        body = orjson.dumps(behaviour.body)
    elif behaviour.status < 400:
        body = b""
    else:
        error = error_replies.default_error(
            surface, behaviour.status, code=behaviour.code, message=behaviour.message
        )
        body = orjson.dumps(error.body)
    return ServiceReply(behaviour.status, body, {**headers, **behaviour.headers})


def _headers(reply: ServiceReply) -> dict[str, str]:
    identifier = str(uuid.uuid4())
    return {
        "content-type": "application/json",
        "x-simulator": "batchscore",
        "x-request-id": identifier,
        "apim-request-id": identifier,
        "x-ms-region": "Simulator",
        **reply.headers,
    }


def _response(reply: ServiceReply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))


def _when_stdin_ends(act: Callable[[], object]) -> None:
    """Call `act` from its own thread when standard input is closed."""

    def watch() -> None:
        try:
            while read(0, 4096):
                pass
        except OSError:
            pass
        act()

    threading.Thread(target=watch, daemon=True, name="parent").start()


async def serve(settings: SimulatorSettings) -> None:
    """Serve on 127.0.0.1 until SIGINT, SIGTERM or, if `exit_with_parent`, the end of standard input."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        Simulator(settings).application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", settings.port, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
        if settings.exit_with_parent:
            _when_stdin_ends(lambda: loop.call_soon_threadsafe(stop.set))
        announced = {"endpoint": f"http://127.0.0.1:{port}", "key": settings.key}
        sys.stdout.write(orjson.dumps(announced).decode() + "\n")
        sys.stdout.flush()
        sys.stderr.write(_hints(port, settings))
        await stop.wait()
    finally:
        await runner.cleanup()


def _hints(port: int, settings: SimulatorSettings) -> str:
    limits = [f"{rate:g} {unit}" for rate, unit in ((settings.rpm, "RPM"), (settings.tpm, "TPM")) if rate]
    return (
        "This is a simulator: answers are made up, nothing leaves this machine.\n"
        f"  Azure OpenAI endpoint   http://127.0.0.1:{port}\n"
        f"  OpenAI base URL         http://127.0.0.1:{port}/v1\n"
        f"  limits per deployment   {', '.join(limits) or 'none'}\n"
        "Press Ctrl-C to stop.\n"
    )
