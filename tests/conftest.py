"""Fixtures of all tests: a clean environment, an empty working folder, and one simulator."""

from __future__ import annotations

import atexit
import contextlib
import csv
import gc
import hashlib
import http.client
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from unittest import mock
from urllib.parse import urlsplit

import numpy as np
import pytest

import hypothesis_profiles  # noqa: F401 - selects the number of examples before any test is imported
import prefork
from batchscore.endpoint.token_cache import forget_tokens
from batchscore.simulator import Running, start
from simulated import Deployment, Project

#: More fixtures, which only some tests need.
pytest_plugins = ["buckets", "cloud"]

#: The simulator's key. Tests search for this text wherever it must not be.
KEY = "k3y-that-must-show-nowhere"

#: Variables of the developer's environment that would change a test's result.
LEAKING = re.compile(
    r"(OPENAI|AZURE|AWS|GOOGLE|BATCHSCORE|MLFLOW|IDENTITY|MSI|DEFAULT_IDENTITY|STORAGE)_.*|(ALL|HTTP|HTTPS|NO)_PROXY|COLUMNS",
    re.IGNORECASE,
)

#: A run of more tests than this says which files took the most time.
MANY_TESTS = 500

#: Concurrent commands of `Cli.together`: slightly more than two cores can run.
AT_ONCE = 4

#: Fixtures that start a server or a process. Their tests get the marker `process`; `make quick` skips them.
PROCESS_FIXTURES = frozenset(
    {"simulator", "imported", "cloud", "moto", "google", "azure", "bucket", "server", "score", "batches"}
)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests whose fixtures start a process. Of those chosen, keep `--cases` of each test."""
    for item in items:
        if not PROCESS_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("process")
    yield
    if most := config.getoption("--cases"):
        cases, kept, left_out = Counter[str](), [], []
        for item in items:
            name = item.nodeid.partition("[")[0]
            cases[name] += 1
            (kept if cases[name] <= most else left_out).append(item)
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file whose `pytestmark` says that none of its tests is wanted."""
    chosen = config.getoption("markexpr")
    if collection_path.suffix != ".py" or " or " in chosen or "::" in " ".join(config.args):
        return None
    marked = re.search(r"^pytestmark = (\[[^]]*]|.*)", collection_path.read_text("utf-8"), re.MULTILINE)
    unwanted = re.findall(r"\bnot (\w+)", chosen)
    if marked and any(re.search(rf"\bmark\.{name}\b", marked[1]) for name in unwanted):
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make only the cases that run, at most `--cases` of each test: to make all takes seconds."""
    most = metafunc.config.getoption("--cases")
    if most or metafunc.config.getoption("markexpr") == "not slow":
        marks = metafunc.definition.own_markers
        marks[:] = [first_cases(mark, most) if mark.name == "parametrize" else mark for mark in marks]


def first_cases(parametrize: pytest.Mark, most: int | None) -> pytest.Mark:
    """Return the marker with its first cases that are not slow, or with slow ones if all are."""
    names, cases, *more = parametrize.args
    cases, options = list(cases), dict(parametrize.kwargs)
    slow = [any(mark.name == "slow" for mark in getattr(case, "marks", ())) for case in cases]
    chosen = [place for place in range(len(cases)) if not slow[place]][:most] or [*range(len(cases))[:most]]
    if not (options.get("ids") is None or callable(options["ids"])):
        ids = list(options["ids"])
        options["ids"] = [ids[place] for place in chosen]
    return pytest.mark.parametrize(names, [cases[place] for place in chosen], *more, **options).mark


def pytest_configure(config: pytest.Config) -> None:
    """Import and collect without the garbage collector, which finds nothing but looks at all."""
    gc.disable()
    if not hasattr(config, "workerinput"):  # the workers of pytest-xdist inherit the variables
        # Journals of killed workers and figures of quotas are there by the path of an output. Later tests get
        # the same paths, and must not find what earlier ones left.
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.gettempdir()
        folder = tempfile.TemporaryDirectory(prefix="batchscore-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["TMPDIR"] = tempfile.tempdir = folder.name
    # All servers of tests are on this machine. To load the authorities of the world takes each client 20 ms.
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("one_authority.pem"))
    # A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector all modules and tests: that takes a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


#: The exit code of this process, when its tests have ended.
ENDED: list[int] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    ENDED.append(int(exitstatus))
    if session.config.getoption("--cases"):
        gc.freeze()  # pytest looks for garbage at the end, which takes as long as a hundred tests


@atexit.register
def _leave() -> None:
    """Leave as usual, but without taking all modules apart, which takes seconds."""
    if ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDED[0])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files that take the most time, so that a costly one is seen when it is written."""
    seconds, tests = Counter[str](), Counter[str]()
    for outcome in ("", "passed", "failed", "error"):  # of fixtures, then of tests
        for report in terminalreporter.getreports(outcome):
            if not isinstance(report, pytest.TestReport):
                continue  # a file that cannot be imported
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            tests[file] += report.when == "call"
    costly = [f"{file} {took:.1f} s ({tests[file]} tests)" for file, took in seconds.most_common(4)]
    if sum(tests.values()) > MANY_TESTS:
        terminalreporter.write_line(f"Most time: {', '.join(costly)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Describe a failure without the garbage collector: Python 3.11 fails to parse a source while it runs."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test of `make quick` that starts a process: it needs the marker `process`."""
    STARTED.clear()
    result = yield
    if STARTED and not any(item.get_closest_marker(name) for name in ("process", "slow")):
        pytest.fail(f"this test starts a process ({STARTED[0]}): mark it with @pytest.mark.process")
    return result


# The first look at the processor starts `uname`, in whichever test loads the SDK first.
platform.processor()

#: What the current test has started, noted by an audit hook.
STARTED: list[str] = []


def _note_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"subprocess.Popen", "os.fork", "os.posix_spawn"}:
        STARTED.append(str(arguments[0] if arguments else event))


sys.addaudithook(_note_process)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", type=int, metavar="N", help="Run at most N cases of each test.")
    parser.addoption(
        "--update-golden", action="store_true", help="Write tests/golden again; review the difference."
    )


@pytest.fixture(scope="session")
def empty_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The last is where tests work that ask for no folder: to make and remove one takes milliseconds."""
    return [tmp_path_factory.mktemp("empty")]


@pytest.fixture(autouse=True)
def clean_environment(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    empty_folders: list[Path],
) -> Iterator[None]:
    """Keep the developer's settings and tokens out, and work in the test's own folder, or in an empty one."""
    for name in os.environ:
        if LEAKING.fullmatch(name):
            monkeypatch.delenv(name)
    forget_tokens()
    own = not {"tmp_path", "files"}.isdisjoint(request.fixturenames)
    monkeypatch.chdir(request.getfixturevalue("tmp_path") if own else empty_folders[-1])
    yield
    if not own and any(empty_folders[-1].iterdir()):
        empty_folders.append(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Compare a text with the file of that name in tests/golden."""
    folder = Path(__file__).with_name("golden")

    def compare(name: str, text: str) -> None:
        if pytestconfig.getoption("--update-golden"):
            (folder / name).write_text(text, "utf-8")
        assert text == (folder / name).read_text("utf-8"), "if this is intended, run: pytest --update-golden"

    return compare


@pytest.fixture(scope="session")
def simulator() -> Iterator[Running]:
    """One server process for all tests, on a free port."""
    with start(dimensions=16, hang_seconds=5, key=KEY, record_last=10_000) as running:
        yield running


@pytest.fixture
def endpoint(simulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which this process finds the simulator."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{simulator.endpoint}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", simulator.key)


@pytest.fixture
def deployment(simulator: Running, request: pytest.FixtureRequest) -> Deployment:
    """One name per test, so that scripts and counts don't collide."""
    digest = hashlib.blake2b(request.node.nodeid.encode(), digest_size=4).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:48].strip("-")
    return Deployment(simulator.endpoint, f"{readable}-{digest}")


@pytest.fixture
def project(simulator: Running, request: pytest.FixtureRequest) -> Iterator[Project]:
    """One project of files and batches per test; its batches end by the first poll."""
    digest = hashlib.blake2b(request.node.nodeid.encode(), digest_size=4).hexdigest()
    project = Project(simulator.endpoint, simulator.key, digest)
    project.end_at_once()
    yield project
    project.reset()


@dataclass
class Direct:
    """Direct calls of the simulator, for the expected answer to a text."""

    endpoint: str
    answers: dict[str, Any] = field(default_factory=dict)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the reply's JSON. Each body is sent only once."""
        key = path + json.dumps(body)
        if key not in self.answers:
            connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=20)
            connection.request("POST", f"/v1/{path}", json.dumps(body), {"Authorization": f"Bearer {KEY}"})
            self.answers[key] = json.loads(connection.getresponse().read())
            connection.close()
        return self.answers[key]

    def vectors(self, texts: Sequence[str], **params: Any) -> list[np.ndarray]:
        """Return the vector of each text, as float32."""
        reply = self.post("embeddings", {"model": "direct", "input": list(texts), **params})
        return [np.array(item["embedding"], dtype=np.float32) for item in reply["data"]]

    def chat(self, *messages: str | Mapping[str, Any], **params: Any) -> str | None:
        """Return the answer to messages. A plain text is a user message."""
        sent = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
        reply = self.post("chat/completions", {"model": "direct", "messages": sent, **params})
        text: str | None = reply["choices"][0]["message"]["content"]
        return text

    def completion(self, text: str, **params: Any) -> str:
        """Return the completion of a prompt."""
        reply = self.post("completions", {"model": "direct", "prompt": text, **params})
        return str(reply["choices"][0]["text"])


@pytest.fixture(scope="session")
def direct(simulator: Running) -> Direct:
    return Direct(simulator.endpoint)


@dataclass(frozen=True)
class Finished:
    """The exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """All output that a user sees."""
        return self.stdout + self.stderr

    @property
    def report(self) -> dict[str, Any]:
        """The last object of `--json`."""
        return self.events[-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The objects of `--json`, one per line. Standard output holds nothing else."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Process:
    """A running command. It is killed if it outlives the test."""

    def __init__(self, popen: subprocess.Popen[str] | prefork.Forked) -> None:
        self.popen = popen

    @property
    def stderr(self) -> IO[str]:
        assert self.popen.stderr is not None
        return self.popen.stderr

    @property
    def stdout(self) -> IO[str]:
        assert self.popen.stdout is not None
        return self.popen.stdout

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.popen.send_signal(number)

    def finish(self, timeout_s: float = 600.0) -> Finished:
        """Wait for its end, and check that no traceback is shown; pytest's own timeout is usually shorter."""
        stdout, stderr = self.popen.communicate(timeout=timeout_s)
        assert "Traceback" not in (stdout or "") + stderr, stderr
        marked = re.search(r"\x02|\\u0002", (stdout or "") + stderr)
        assert not marked, "a setting's name that no door has written"
        return Finished(self.popen.returncode, stdout or "", stderr)

    def __enter__(self) -> Process:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


class Cli:
    """The real command line in its own process, with the simulator as its endpoint."""

    def __init__(self, environ: Mapping[str, str], imported: prefork.Server | None = None) -> None:
        self.environ = dict(environ)
        self.imported = imported
        self.started: list[Process] = []

    @property
    def killed(self) -> bool:
        """Whether a command was killed."""
        return any(process.popen.poll() == -signal.SIGKILL for process in self.started)

    def start(
        self, *arguments: str | Path, env: Mapping[str, str | None] | None = None, **more: Any
    ) -> Process:
        """Start a command. None in `env` removes a variable; `more` holds arguments of `Popen`."""
        chosen = {**os.environ, **self.environ, **(env or {})}
        variables = {name: value for name, value in chosen.items() if value is not None}
        words = [str(argument) for argument in arguments]
        needs_a_start = any(name.startswith(("LD_", "PYTHON")) for name in env or ())
        if self.imported is not None and more.keys() <= {"cwd"} and not needs_a_start:
            popen = self.imported.start(words, variables, Path(more.get("cwd", ".")).absolute())
        else:
            popen = subprocess.Popen(
                [sys.executable, "-m", "batchscore", *words],
                env=variables,
                encoding="utf-8",
                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
            )
        self.started.append(Process(popen))
        return self.started[-1]

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str | None] | None = None, **more: Any
    ) -> Finished:
        """Run a command to its end."""
        with self.start(*arguments, env=env, **more) as process:
            return process.finish()

    def here(self, *arguments: str | Path) -> Finished:
        """Run a command in this process, without a fork: one that is refused or only shows something."""
        from batchscore.cli.main import main  # noqa: PLC0415 - only the process of a test needs it

        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        words = ["batchscore", *map(str, arguments)]
        with (
            mock.patch.dict(os.environ, self.environ),
            mock.patch.object(sys, "argv", words),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
        stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))
        return Finished(int(end.value.code), stdout, stderr)

    def together(
        self, *commands: Sequence[str | Path], env: Mapping[str, str | None] | None = None
    ) -> list[Finished]:
        """Run several commands concurrently, to use all cores."""
        return self.each(*((command, env or {}) for command in commands))

    def each(self, *commands: tuple[Sequence[str | Path], Mapping[str, str | None]]) -> list[Finished]:
        """Run several commands concurrently, each with its own variables."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda one: self(*one[0], env=one[1]), commands))


@pytest.fixture(scope="session")
def imported() -> Iterator[prefork.Server]:
    """The process that forks for each command, which saves the second for Python's imports."""
    with contextlib.closing(prefork.Server()) as server:
        yield server


@pytest.fixture(scope="session")
def command_line(imported: prefork.Server) -> Cli:
    """The command line without an endpoint."""
    return Cli({}, imported)


@pytest.fixture(scope="session")
def scorer(simulator: Running, imported: prefork.Server) -> Cli:
    """The command line with the simulator of all tests: to start one for a run takes longer than the run."""
    return Cli({"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": KEY}, imported)


@pytest.fixture
def batchscore(scorer: Cli, tmp_path: Path) -> Iterator[Cli]:
    """The command line. It must leave no temporary file behind, but for the record or page of a killed run.

    Another task's run may write these now, so only a later run removes what is left of them.
    """
    cli = Cli(scorer.environ, scorer.imported)
    yield cli
    remaining = list(tmp_path.rglob("*.tmp"))
    if cli.killed:
        shared = {path.parent for path in tmp_path.rglob(".batchscore")}
        remaining = [path for path in remaining if path.parent not in shared and path.parent.name != "runs"]
    assert not remaining


Rows = Sequence[Mapping[str, Any]]


class Files:
    """Writes small input files to the working folder. Each method returns the path."""

    def bytes(self, name: str, data: bytes) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def text(self, name: str, text: str) -> Path:
        return self.bytes(name, text.encode())

    def lines(self, name: str, values: Sequence[Any]) -> Path:
        """Write one JSON value per line."""
        return self.text(name, "".join(json.dumps(value) + "\n" for value in values))

    def json(self, name: str, value: Any) -> Path:
        return self.text(name, json.dumps(value, indent=1))

    def csv(self, name: str, rows: Rows, delimiter: str = ",") -> Path:
        path = self.bytes(name, b"")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return path

    def parquet(self, name: str, rows: Rows) -> Path:
        import pyarrow as pa  # noqa: PLC0415 - the process that only starts workers needs none of it
        import pyarrow.parquet as pq  # noqa: PLC0415

        path = self.bytes(name, b"")
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return path

    def texts(self, name: str, texts: Sequence[str]) -> Path:
        """Write a csv of `id` and `text`. The ids are `000`, `001` and so on."""
        return self.csv(name, [{"id": f"{row:03}", "text": text} for row, text in enumerate(texts)])


@pytest.fixture
def files() -> Files:
    return Files()
