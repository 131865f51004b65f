"""Which deployment does a URL address, is the client authorized, and what happens in which order?

It must not know the correct reply: `service` returns it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from os import read
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator import error_replies
from batchscore.simulator.batch.calls import call_routes, model_doors, project_name
from batchscore.simulator.batch.control import project_control_routes
from batchscore.simulator.batch.projects import Projects, split_key
from batchscore.simulator.batch.routes import BATCH_CALLS
from batchscore.simulator.control import control_routes
from batchscore.simulator.error_replies import Rejection, ServiceReply, Surface
from batchscore.simulator.finetune.arm_routes import ARM_CALLS, arm_door
from batchscore.simulator.finetune.models import BASE_MODELS
from batchscore.simulator.finetune.routes import TUNING_CALLS, model_calls
from batchscore.simulator.script import Behaviour, RandomFaults
from batchscore.simulator.send import replace_reply, send_badly, send_in_its_way, send_reply
from batchscore.simulator.service import OPERATIONS, Service, ServiceCall, parse_body, prompt_text, reshape
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.state import RequestRecord, SimulatedDeployment, SimulatedDeployments

_MAX_BODY_BYTES = 256 * 1024 * 1024
#: An Azure deployment whose name ends so takes batches only.
_BATCH_SUFFIX = "-batch"
#: How often batches are brought to the present, and for how long at most, in seconds.
_TICK, _WORK = 0.05, 0.2
#: The audiences of tokens for models, and for Azure's management.
_DATA, _MANAGEMENT = ("cognitiveservices", "ai"), ("management",)
#: What is not below a deployment, though it has a dated version.
_UNBOUND = (Surface.AZURE, "responses")
#: All surfaces, operations and paths.
_PATHS = [
    (surface, name, f"{'/openai' if (surface, name) == _UNBOUND else surface.value}/{name}")
    for surface in Surface
    for name in OPERATIONS
]


class Simulator:
    """The HTTP server: one instance per process, with all state in `states`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.states = SimulatedDeployments(settings)
        self._service = Service(settings)
        self._random_faults = RandomFaults(settings)
        self.projects = Projects(self._service, settings)
        self._secrets = [secret.encode() for secret in (settings.key, *settings.token)]

    def application(self) -> web.Application:
        """Return the application with all routes."""
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        router = application.router
        for surface, operation, path in _PATHS:
            router.add_post(path, partial(self._serve, surface=surface, operation=operation))
        # Without given names any name answers, so it lists those that have dates.
        calls = (*BATCH_CALLS, *TUNING_CALLS, *model_calls(sorted(self.settings.deployments or BASE_MODELS)))
        for door in model_doors(self._authenticate):
            router.add_routes(call_routes(self.projects, self.states, door, calls))
        management = arm_door(partial(self._authenticate, manages=True))
        router.add_routes(call_routes(self.projects, self.states, management, ARM_CALLS))
        router.add_routes(control_routes(self.states))
        router.add_routes(project_control_routes(self.projects, self.settings.key))
        router.add_route("*", "/{anything:.*}", self._unknown)
        application.cleanup_ctx.append(self._run_batches)
        return application

    async def _run_batches(self, _: web.Application) -> AsyncIterator[None]:
        """Run batches in the background while the server runs; then remove their files."""

        async def run() -> None:
            while True:
                start = time.monotonic()
                await self.projects.step(_WORK)
                await asyncio.sleep(_TICK if time.monotonic() - start < _WORK else 0)

        task = asyncio.create_task(run())
        yield
        task.cancel()
        await asyncio.wait([task])
        self.projects.close()

    async def _serve(self, request: web.Request, surface: Surface, operation: str) -> web.StreamResponse:
        """Authenticate, record and answer one request, by the script or else as the service does."""
        name = request.match_info.get("deployment")
        authentication, allowed = self._authenticate(request)
        record = self.states.new_record(request.path_qs, request.headers, authentication)
        unread = self.states.get(name).script.take_before_body() if name is not None and allowed else None
        if unread is None:
            record.raw = await request.read()
        body: dict[str, Any] | Rejection
        try:
            body = parse_body(record.raw)
        except Rejection as rejection:
            body = rejection
        error: ServiceReply | None = None
        if name is None:
            model = body.get("model") if isinstance(body, dict) else None
            name = model if isinstance(model, str) else ""
            if isinstance(body, Rejection):
                error = body.reply
            elif not name:
                error = error_replies.invalid_request("you must provide a model parameter")
        state = self.states.get(name)
        answering = self.projects.answering(project_name(request), name, surface)
        exists = answering.exists and (answering.made or self._service.has_deployment(name))
        state.record_arrival(record)
        try:
            if surface is Surface.AZURE and not request.query.get("api-version"):
                error = error_replies.resource_not_found()
            elif not allowed:
                error = error_replies.unauthorized(surface, presented=authentication)
            elif error is None and not exists:
                error = error_replies.deployment_not_found(surface, name)
            elif error is None and surface is not Surface.OPENAI and name.endswith(_BATCH_SUFFIX):
                error = error_replies.batch_deployment(name)
            if error is not None and unread is None:
                return _send(record, error)
            behaviour = unread or state.script.take(lambda: prompt_text(body) or str(body))
            call = ServiceCall(surface, operation, name, body, answering.learned)
            return await self._answer(request, record, state, behaviour, call)
        finally:
            state.record_end(record)

    async def _answer(
        self,
        request: web.Request,
        record: RequestRecord,
        state: SimulatedDeployment,
        behaviour: Behaviour | None,
        call: ServiceCall,
    ) -> web.StreamResponse:
        """Answer by the script, or else by the limits, the random faults and the model.

        The limits are not charged for a scripted reply. They are charged before a random fault.
        """
        if behaviour is not None and behaviour.replaces_answer:
            await asyncio.sleep(behaviour.latency)
            record.status = behaviour.status
            return await replace_reply(request, behaviour, call.surface)
        work, headers = self._service.admit(call, state, behaviour.wording if behaviour else None)
        if isinstance(work, ServiceReply) and work.status == 429:
            return _send(record, work._replace(headers=headers))
        latency = self._random_faults.latency() + (behaviour.latency if behaviour else 0.0)
        if latency:
            await asyncio.sleep(latency)
        behaviour = behaviour or self._random_faults.draw()
        if behaviour is not None and behaviour.replaces_answer:
            record.status = behaviour.status
            return await replace_reply(request, behaviour, call.surface)
        reply = await self._service.answer(call, work, vector_fault=behaviour.vectors if behaviour else None)
        shape = (behaviour.shape if behaviour else None) or self.settings.shape
        reply = reshape(reply._replace(headers=headers), shape)
        record.tokens = reply.tokens
        if behaviour is None:
            return _send(record, reply)
        record.status = reply.status
        if behaviour.drip is not None or behaviour.truncate is not None:
            return await send_badly(request, reply, behaviour)
        return await send_in_its_way(request, reply, behaviour)

    def _authenticate(self, request: web.Request, *, manages: bool = False) -> tuple[str | None, bool]:
        """Return the kind of authentication ("key", "bearer", None), and whether the client is authorized.

        A token may name its audience behind a tilde; for a call that `manages` it must.
        """
        key = request.headers.get("api-key")
        if key is not None:
            return "key", not manages and _is_one_of(key, self._secrets[:1])
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None, False
        token = token.strip()
        secret, _, audience = split_key(token)[0].rpartition("~")
        if secret and _is_one_of(secret, self._secrets):
            return "bearer", audience in (_MANAGEMENT if manages else _DATA)
        return "bearer", not manages and _is_one_of(token, self._secrets)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/openai/"):
            return send_reply(error_replies.resource_not_found())
        return send_reply(error_replies.unknown_url(request.method, request.path))


def _is_one_of(key: str, secrets: list[bytes]) -> bool:
    """Whether a key is one of these, as it is or with the name of a project behind it."""
    sent = [key.encode(), split_key(key)[0].encode()]
    return any(hmac.compare_digest(one, secret) for one in sent for secret in secrets)


def _send(record: RequestRecord, reply: ServiceReply) -> web.Response:
    record.status = reply.status
    return send_reply(reply)


def _when_stdin_ends(act: Callable[[], object]) -> None:
    """Call `act` from its own thread when standard input is closed."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while read(0, 4096):
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
        "Press Ctrl-C to stop. To use it, run in another terminal:\n"
        f"export AZURE_OPENAI_ENDPOINT=http://127.0.0.1:{port} "
        f"AZURE_OPENAI_API_KEY={shlex.quote(settings.key)}\n"
    )
