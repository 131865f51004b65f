from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

import batchscore.simulator
from batchscore.simulator import SimulatorSettings, start

COMMAND = [sys.executable, "-m", "batchscore", "simulate"]
FOLDER = Path(batchscore.simulator.__file__).parent

pytestmark = pytest.mark.process


def launch(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with launch("--key", "secret") as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", announced["endpoint"])
        assert announced["key"] == "secret"
        process.send_signal(number)
        output, hints = process.communicate(timeout=50)
    assert process.returncode == 0
    assert output == ""
    assert "This is a simulator" in hints
    assert "Traceback" not in hints


@pytest.mark.slow
def test_no_module_of_the_working_folder_is_imported() -> None:
    """A folder of data may hold any file, and the simulator's process has the variables with the keys."""
    for name in ("json", "aiohttp", "orjson", "numpy", "runpy", "sitecustomize", "batchscore"):
        Path(f"{name}.py").write_text("open('imported', 'w').close()\nraise SystemExit(1)\n")
    with start() as running:
        assert running.endpoint.startswith("http://127.0.0.1:")
    assert not Path("imported").exists()


def test_it_ends_with_its_parent_if_requested() -> None:
    with launch("--exit-with-parent") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(50) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_a_hanging_request_does_not_keep_it_from_ending() -> None:
    code = (
        "import threading, urllib.request as u\n"
        "from batchscore.simulator import start\n"
        "from simulated import Deployment\n"
        "def call():\n"
        '    try: u.urlopen(u.Request(r.endpoint + \'/v1/embeddings\', b\'{"model":"d","input":"a"}\',\n'
        "                             {'api-key': r.key}))\n"
        "    except OSError: pass\n"
        "with start(dimensions=4) as r:\n"
        "    d = Deployment(r.endpoint, 'd'); d.will_hang()\n"
        "    t = threading.Thread(target=call); t.start()\n"
        "    d.wait_for(1)\n"
        "t.join(); print('ended')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "ended\n", done.stderr


def test_it_ends_when_its_parent_is_killed() -> None:
    code = (
        "from batchscore.simulator import start\n"
        "import time\n"
        "with start(dimensions=4) as r:\n"
        "    print(r.pid, r.endpoint, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, endpoint = parent.stdout.readline().split()
        parent.kill()
    while _alive(int(pid)):
        time.sleep(0.01)
    with pytest.raises(URLError):
        urlopen(endpoint)


def _alive(pid: int) -> bool:
    """Whether the process runs. A zombie does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in {"", "Z"}


@pytest.mark.slow
def test_a_taken_port_is_reported_in_one_line() -> None:
    with start(dimensions=4) as running:
        port = running.endpoint.rsplit(":", 1)[1]
        done = subprocess.run(
            [*COMMAND, "--port", port], capture_output=True, text=True, timeout=50, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"the simulator cannot listen on port {port}" in done.stderr
        with pytest.raises(RuntimeError, match="cannot listen on port"), start(port=int(port)):
            pass
    with pytest.raises(URLError):
        urlopen(running.endpoint)


def test_its_import_loads_no_server_and_no_other_room() -> None:
    code = (
        "import sys, batchscore.simulator\n"
        "heavy = {'aiohttp', 'numpy', 'orjson', 'openai', 'pandas', 'mlflow', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_imports_no_other_room() -> None:
    for path in FOLDER.rglob("*.py"):
        found = re.findall(r"^\s*(?:from|import)\s+(batchscore[\w.]*)", path.read_text("utf-8"), re.MULTILINE)
        assert all(name.startswith("batchscore.simulator") for name in found), path.name


def test_every_setting_has_help_and_names_may_be_separated_by_commas() -> None:
    for names in (("one, two",), ("one", "two"), ["one,two,"]):
        assert SimulatorSettings(deployments=tuple(names)).deployments == ("one", "two")
    for item in fields(SimulatorSettings):
        assert item.metadata["help"].endswith("."), item.name


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"rpm": 0},
        {"dimensions": 0},
        {"fail_500": 1.5},
        {"key": ""},
        {"fail_500": 0.6, "reset": 0.6},
        {"wording": "nobody"},
        {"shape": "nothing"},
    ],
)
def test_a_setting_out_of_bounds_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"port|rpm|dimensions|fail-500|key|shares|wording|shape"):
        SimulatorSettings(**wrong)


def test_a_wrong_flag_is_a_usage_error() -> None:
    with launch("--latency", "-1") as process:
        _, errors = process.communicate(timeout=50)
    assert process.returncode == 2
    assert "--latency must be at least 0, not -1.0" in errors


def test_every_setting_reaches_a_process_as_json() -> None:
    """`start` gives them to its child as one JSON object."""
    every = fields(SimulatorSettings)
    given = {"key": "k", "token": ("a", "b"), "deployments": ("x",), "wording": "vllm", "shape": "html"}
    given |= {"answers": "key.json", "vectors": "v.npz"}
    given |= {item.name: not item.default for item in every if item.metadata["kind"] is bool}
    given |= {
        item.name: item.metadata["kind"](0.125 if item.metadata["high"] == 1 else 17)
        for item in every
        if item.metadata["kind"] in {int, float}
    }
    settings = SimulatorSettings(**given)
    assert all(getattr(settings, item.name) != item.default for item in every)
    assert SimulatorSettings(**json.loads(json.dumps(asdict(settings)))) == settings
