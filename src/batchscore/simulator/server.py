"""Which URL leads to which deployment and operation, who may call, and in what order do things happen?

It must not know what a right answer is (`service`), nor how it goes out (`stage`).
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
from os import read
from typing import Any

import orjson
from aiohttp import web

from batchscore.simulator import problems, stage
from batchscore.simulator.books import Books, DeploymentBook, Entry
from batchscore.simulator.control import control_routes
from batchscore.simulator.faults import Chance
from batchscore.simulator.limits import retry_headers
from batchscore.simulator.problems import Problem, Surface
from batchscore.simulator.script import Behaviour
from batchscore.simulator.service import OPERATIONS, Outcome, Service, parse, refusal, texts_of
from batchscore.simulator.settings import SimulatorSettings

_MOST_BODY_BYTES = 256 * 1024 * 1024
_OPERATION = "|".join(re.escape(name) for name in OPERATIONS)
_HTML = "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"


class Simulator:
    """The HTTP side: one instance a process, all state in `books`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.books = Books(settings)
        self._service = Service(settings)
        self._chance = Chance(settings)
        self._secrets = [secret.encode() for secret in (settings.key, *settings.tokens)]

    def application(self) -> web.Application:
        """Give the routes, ready to be served."""
        application = web.Application(client_max_size=_MOST_BODY_BYTES)
        router = application.router
        azure = rf"/openai/deployments/{{deployment}}/{{operation:{_OPERATION}}}"
        router.add_post(azure, self._azure)
        router.add_post(rf"/openai/v1/{{operation:{_OPERATION}}}", self._azure_v1)
        router.add_post(rf"/v1/{{operation:{_OPERATION}}}", self._openai)
        for path in ("/v1/models", "/openai/v1/models", "/openai/models"):
            router.add_get(path, self._models)
        router.add_routes(control_routes(self.settings, self.books))
        router.add_route("*", "/{anything:.*}", self._unknown)
        return application

    async def _azure(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, Surface.AZURE, request.match_info["deployment"])

    async def _azure_v1(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, Surface.AZURE_V1, None)

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, Surface.OPENAI, None)

    async def _serve(self, request: web.Request, surface: Surface, name: str | None) -> web.StreamResponse:
        """Answer one request: who, which, recorded, as scripted, else as the service would."""
        authentication, allowed = self._authenticate(request)
        entry = self.books.entry(request.path_qs, request.headers, authentication)
        unread = self.books.of(name).script.take_unread() if name is not None and allowed else None
        if unread is None:
            entry.raw = await request.read()
        parsed = parse(entry.raw)
        problem: Problem | None = None
        if name is None:
            model = parsed.get("model") if isinstance(parsed, dict) else None
            name = model if isinstance(model, str) else ""
            if isinstance(parsed, Problem):
                problem = parsed
            elif not name:
                problem = problems.invalid("you must provide a model parameter")
        book = self.books.of(name)
        book.arrived(entry)
        try:
            if surface is Surface.AZURE and not request.query.get("api-version"):
                problem = problems.resource_not_found()
            elif not allowed:
                problem = problems.unauthorized(surface, presented=authentication)
            elif problem is None and not self._service.serves(name):
                problem = problems.no_deployment(surface, name)
            if problem is not None and unread is None:
                return self._whole(entry, refusal(problem))
            behaviour = unread or book.script.take(lambda: texts_of(parsed) or str(parsed))
            return await self._play(request, entry, book, behaviour, (parsed, name, surface))
        finally:
            book.left(entry)

    async def _play(
        self,
        request: web.Request,
        entry: Entry,
        book: DeploymentBook,
        behaviour: Behaviour | None,
        asked: tuple[dict[str, Any] | Problem, str, Surface],
    ) -> web.StreamResponse:
        """Answer as the script says, if it does, and else as limits, chance and the model do.

        A scripted answer is not charged; what chance spoils is, since the service had let it in.
        """
        parsed, name, surface = asked
        if behaviour is not None and behaviour.replaces_answer:
            await asyncio.sleep(behaviour.latency)
            return await self._spoiled(request, entry, behaviour, surface)
        operation = request.match_info["operation"]
        admitted = self._service.admit(parsed, name=name, operation=operation, surface=surface, book=book)
        if isinstance(admitted, Outcome):
            return self._whole(entry, admitted)
        latency = self._chance.latency() + (behaviour.latency if behaviour else 0.0)
        if latency:
            await asyncio.sleep(latency)
        behaviour = behaviour or self._chance.draw()
        if behaviour is None:
            outcome = await self._service.answer(admitted)
            entry.tokens = outcome.tokens
            return self._whole(entry, outcome)
        if behaviour.replaces_answer:
            return await self._spoiled(request, entry, behaviour, surface)
        outcome = await self._service.answer(admitted, vector_fault=behaviour.vectors)
        entry.tokens, entry.status = outcome.tokens, outcome.status
        headers = _headers(outcome)
        if behaviour.drip is not None:
            return await stage.dripped(request, outcome.status, headers, outcome.body, behaviour.drip)
        if behaviour.truncate is not None:
            return await stage.truncated(request, outcome.status, headers, outcome.body, behaviour.truncate)
        return self._whole(entry, outcome)

    async def _spoiled(
        self, request: web.Request, entry: Entry, behaviour: Behaviour, surface: Surface
    ) -> web.StreamResponse:
        """Do what stands in place of an answer."""
        if behaviour.drop is not None:
            return stage.reset(request)
        if behaviour.hang is not None:
            await asyncio.sleep(behaviour.hang)
            return stage.close(request)
        return self._whole(entry, _scripted(behaviour, surface))

    def _whole(self, entry: Entry, outcome: Outcome) -> web.Response:
        entry.status = outcome.status
        return web.Response(status=outcome.status, body=outcome.body, headers=_headers(outcome))

    def _authenticate(self, request: web.Request) -> tuple[str | None, bool]:
        """Give how the caller presented itself ("key", "bearer", None), and whether it may come in."""
        key = request.headers.get("api-key")
        if key is not None:
            return "key", hmac.compare_digest(key.encode(), self._secrets[0])
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None, False
        shown = token.strip().encode()
        return "bearer", any(hmac.compare_digest(shown, secret) for secret in self._secrets)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        surface = Surface.OPENAI if request.path.startswith("/v1") else Surface.AZURE
        authentication, allowed = self._authenticate(request)
        if not allowed:
            return _response(refusal(problems.unauthorized(surface, presented=authentication)))
        heard = [name for name in self.books.by_name if name and self._service.serves(name)]
        names = sorted(self.settings.deployments or heard)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
        return _response(Outcome(200, orjson.dumps({"object": "list", "data": models})))

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        azure = request.path.startswith("/openai/")
        problem = (
            problems.resource_not_found() if azure else problems.unknown_url(request.method, request.path)
        )
        return _response(refusal(problem))


def _scripted(behaviour: Behaviour, surface: Surface) -> Outcome:
    """Give the answer that a script spells out."""
    assert behaviour.status is not None
    headers = {} if behaviour.retry_after is None else retry_headers(behaviour.retry_after)
    if behaviour.text is not None:
        kind = {"content-type": behaviour.content_type}
        return Outcome(behaviour.status, behaviour.text.encode(), {**kind, **headers, **behaviour.headers})
    if behaviour.body is not None:
        body = orjson.dumps(behaviour.body)
    elif behaviour.status < 400:
        body = b""
    else:
        known = problems.plain(surface, behaviour.status, code=behaviour.code, message=behaviour.message)
        body = orjson.dumps(known.body)
    return Outcome(behaviour.status, body, {**headers, **behaviour.headers})


def _headers(outcome: Outcome) -> dict[str, str]:
    identifier = str(uuid.uuid4())
    return {
        "content-type": "application/json",
        "x-simulator": "batchscore",
        "x-request-id": identifier,
        "apim-request-id": identifier,
        "x-ms-region": "Simulator",
        **outcome.headers,
    }


def _response(outcome: Outcome) -> web.Response:
    return web.Response(status=outcome.status, body=outcome.body, headers=_headers(outcome))


def _when_stdin_ends(act: Callable[[], object]) -> None:
    """Call `act` from a thread of its own once standard input is at its end."""

    def watch() -> None:
        try:
            while read(0, 4096):
                pass
        except OSError:
            pass
        act()

    threading.Thread(target=watch, daemon=True, name="parent").start()


async def serve(settings: SimulatorSettings) -> None:
    """Serve on 127.0.0.1 until SIGINT, SIGTERM or, if so set, the end of standard input."""
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
        f"  limits a deployment     {', '.join(limits) or 'none'}\n"
        "Ctrl-C ends it.\n"
    )
