"""A tracking server on loopback that records the calls of MLflow's client, and fails on demand.

The real client speaks to it; what it answers was compared with MLflow's own server, 2.19 and 3.17.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from http_served import Handler

#: Variables that make MLflow use only this server.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}


@dataclass
class Run:
    """One MLflow run as received: every point of each metric, in the order of arrival."""

    name: str
    artifacts: Path
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        return {
            path.relative_to(self.artifacts).as_posix()
            for path in self.artifacts.rglob("*")
            if path.is_file()
        }


@dataclass
class TrackingServer:
    """`fault` is `""`, a status such as `"500"`, `"hang"` or `"close"`; `asked` counts the requests.

    Only calls with `faulty` in their path have the fault. A call named `holds` sets `held`, and waits until
    this is clear again.
    """

    uri: str
    artifacts: Path
    runs: dict[str, Run] = field(default_factory=dict)
    fault: str = ""
    faulty: str = ""
    asked: int = 0
    holds: str = "nothing"
    held: threading.Event = field(default_factory=threading.Event)

    @property
    def environ(self) -> dict[str, str]:
        return {**QUIET, "MLFLOW_TRACKING_URI": self.uri}

    def begin(self, run_id: str, name: str = "") -> Run:
        run = self.runs[run_id] = Run(name, self.artifacts / run_id)
        run.artifacts.mkdir(parents=True)
        return run

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the reply to one request."""
        name = path.partition("?")[0].rpartition("mlflow/")[2]
        if name == "runs/create":
            begun = self.begin(f"run{len(self.runs)}", body.get("run_name", ""))
            begun.tags.update((each["key"], each["value"]) for each in body.get("tags", ()))
            return 200, {"run": self.told(f"run{len(self.runs) - 1}")}
        run_id = body.get("run_id") or path.rpartition("run_id=")[2].partition("&")[0]
        if run_id not in self.runs:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no run {run_id}"}
        run = self.runs[run_id]
        if name == "runs/log-batch":
            given = {each["key"]: each["value"] for each in body.get("params", ())}
            if any(run.params.get(key, value) != value for key, value in given.items()):
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "a parameter is changed"}
            run.params.update(given)
            run.tags.update((each["key"], each["value"]) for each in body.get("tags", ()))
            for each in body.get("metrics", ()):
                run.metrics.setdefault(each["key"], []).append(each["value"])
        elif name == "runs/update":
            run.status = body.get("status", run.status)
        elif name != "runs/get":
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": name}
        return 200, {"run": self.told(run_id), "run_info": self.told(run_id)["info"]}

    def told(self, run_id: str) -> dict[str, Any]:
        run = self.runs[run_id]
        info = {"run_id": run_id, "run_uuid": run_id, "experiment_id": "0", "status": run.status}
        info |= {"artifact_uri": str(run.artifacts), "lifecycle_stage": "active", "run_name": run.name}
        params = [{"key": key, "value": value} for key, value in run.params.items()]
        return {"info": info, "data": {"params": params}}


@contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    """Serve on a free port until the block ends."""

    class _Handler(Handler):
        def do_POST(self) -> None:
            server.asked += 1
            if server.fault == "hang":
                time.sleep(60)
            if server.fault in {"hang", "close"}:
                self.close_connection = True
                return
            if server.holds in self.path:
                server.held.set()
                while server.held.is_set():
                    time.sleep(0.01)
            body = json.loads(self.body() or b"{}")
            fails = server.fault and server.faulty in self.path
            status, answer = (int(server.fault), {}) if fails else server.answer(self.path, body)
            self.reply_json(status, answer)

        def do_PUT(self) -> None:
            """Refuse a file that is sent as to a web server."""
            server.asked += 1
            self.send_error(403)

        do_GET = do_POST

    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server = TrackingServer(f"http://user:pass-that-shows-nowhere@127.0.0.1:{listening.server_port}", folder)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        # Do not wait for threads that hang.
        listening.socket.close()
        thread.join()
