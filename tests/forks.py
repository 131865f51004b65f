"""`--forks N`: N processes run the tests, which were found once, and share one simulator.

With pytest-xdist, each process imports and finds all tests and starts its own servers, and each test costs
five messages: a tenth of the time of the default tests. Here the processes fork when all tests are found.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

#: Two tests are given at a time: pytest ends a test's fixtures by the needs of the next one.
AHEAD = 2

#: What starts each server that the processes share, and those that run.
SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {}
SHARED: dict[str, Any] = {}
STARTING = pytest.StashKey[dict[str, Future[Any]]]()


@contextmanager
def shared(name: str) -> Iterator[Any]:
    """Give the server that all processes share, or start one for this process."""
    if name in SHARED:
        yield SHARED[name]
    else:
        with SERVERS[name]() as server:
            yield server


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers while the tests are found, which takes one core."""
    if session.config.getoption("--forks") and not session.config.option.collectonly:
        servers, threads = ExitStack(), ThreadPoolExecutor()
        session.config.add_cleanup(servers.close)
        session.config.add_cleanup(threads.shutdown)  # the last is called first
        session.config.stash[STARTING] = {
            name: threads.submit(lambda start: servers.enter_context(start()), start)
            for name, start in SERVERS.items()
        }
        threads.shutdown(wait=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in processes, if asked to."""
    number = session.config.getoption("--forks")
    if not number or session.config.option.collectonly or session.testsfailed:
        return None
    for name, started in session.config.stash[STARTING].items():
        SHARED[name] = started.result()
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # made before the forks
    Runner(session).run(number)
    return True


@dataclass
class Worker:
    """A process, the tests that it was given, and the others of its file."""

    process: BaseProcess
    connection: Connection
    given: deque[int] = field(default_factory=deque)
    rest: deque[int] = field(default_factory=deque)
    ending: bool = False


class Runner:
    """Gives whole files to the processes, and the tests of the longest file when there are no more."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        places = range(len(session.items))
        self.files = [deque(tests) for _, tests in groupby(places, lambda place: session.items[place].path)]
        self.workers: list[Worker] = []
        self.started = 0

    def run(self, number: int) -> None:
        try:
            for _ in range(number):
                self.start()
            while self.workers:
                connections = {worker.connection: worker for worker in self.workers}
                for connection in wait(list(connections)):
                    self.receive(connections[connection])  # type: ignore[index]
        finally:
            for worker in self.workers:
                worker.connection.close()
            for worker in self.workers:
                worker.process.join()

    def start(self) -> None:
        """Fork, and give the new process its first tests."""
        ours, theirs = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        others = [ours, *(worker.connection for worker in self.workers)]
        process = fork.Process(target=work, args=(self.session, theirs, others, self.started))
        process.start()
        theirs.close()
        self.started += 1
        self.workers.append(Worker(process, ours))
        for _ in range(AHEAD):
            self.give(self.workers[-1])

    def give(self, worker: Worker) -> None:
        """Give a process one test more, or None as the last if there are none."""
        if worker.ending:
            return
        if not worker.rest and self.files:
            worker.rest = self.files.pop()
        longest = max((other.rest for other in self.workers), key=len)
        place = worker.rest.popleft() if worker.rest else longest.pop() if longest else None
        if place is not None:
            worker.given.append(place)
        worker.ending = place is None
        with suppress(ConnectionError):  # its end is noticed below
            worker.connection.send(place)

    def receive(self, worker: Worker) -> None:
        """Report a test that has ended, or that has ended its process."""
        hook = self.session.config.hook
        try:
            reports = worker.connection.recv()
        except (EOFError, ConnectionError):
            self.workers.remove(worker)
            worker.process.join()
            if not worker.given:
                assert worker.process.exitcode == 0, "a process has failed after its tests"
                return
            reports = [self.died(worker)]
            self.files.append(deque([*worker.given, *worker.rest][1:]))
            self.start()
        else:
            reports = [
                hook.pytest_report_from_serializable(config=self.session.config, data=one) for one in reports
            ]
            self.give(worker)
        item = self.session.items[worker.given.popleft()]
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)

    def died(self, worker: Worker) -> pytest.TestReport:
        item = self.session.items[worker.given[0]]
        why = f"this test ended its process with exit code {worker.process.exitcode}"
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")


def work(session: pytest.Session, runner: Connection, others: list[Connection], number: int) -> None:
    """Run the tests that come, in a new process, and send their reports."""
    for connection in others:
        connection.close()
    config, reports = session.config, Reports(session.config)
    plugins: Any = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(reports)
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()  # the file in which it catches the output would be shared
    capture.start_global_capturing()
    capture.suspend_global_capture()
    folders = config._tmp_path_factory  # type: ignore[attr-defined]
    folders._basetemp = folders.getbasetemp() / f"process-{number}"
    folders._basetemp.mkdir(mode=0o700)
    # Without the process that gives tests, nobody waits for the results.
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        try:
            place = runner.recv()
            while place is not None:
                after = runner.recv()
                item, following = session.items[place], None if after is None else session.items[after]
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                runner.send(list(reports.taken()))
                place = after
        finally:
            session._setupstate.teardown_exact(None)


class Reports:
    """Collects the reports of a test."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def taken(self) -> Iterator[Any]:
        """Return the reports as plain data, and forget them."""
        for report in self.reports:
            yield self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.reports = []
