"""The page: untrusted text stays text, odd records are skipped, figures add up."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchscore.errors import ExitCode, visible
from batchscore.report.page import answers, charts, tables, vectors
from batchscore.report.page.answers import answer_of, answer_stats, enum_counts, histogram
from batchscore.report.page.frame import source
from batchscore.report.page.markup import NOTHING, data, html
from batchscore.report.page.model import FailedRow, Failures, FileAccount, PageData, StoredPart, TaskData
from batchscore.report.page.page import figures, page
from batchscore.report.page.runs import RecordedRun, run_from
from batchscore.report.page.sample import read_failures
from batchscore.report.page.tables import state_text
from batchscore.report.page.time_axis import ticks_of, time_axis
from batchscore.report.page.vectors import Origin, map_of
from batchscore.report.page.verdict import verdict
from batchscore.report.timeline import Timeline
from batchscore.rows import Attempt, DeploymentState, Heartbeat, Prompt, RowsSettled
from hypothesis_profiles import examples

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "]]>",
    "' onmouseover='alert(1)",
    "invoice\u202egpj.exe",
    "\u2028\u2029\x00\x1b[31m\ud800",
    "&lt;b&gt;",
    "${policy} $title {{x}}",
)

words = st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=40))


def course(name: str, seconds: int = 4, started: float = 0.0, tpm: float | None = 60000.0) -> dict[str, Any]:
    """Give a timeline of a run that asked ten times a second."""
    now = [started]
    timeline = Timeline(lambda: now[0])
    standing = DeploymentState(name, "up", 2, 0, 0, None, tpm, 0.0, False)
    timeline(Heartbeat((standing,)))
    for number in range(seconds * 10):
        now[0] += 0.1
        timeline(Attempt(1, 200, 0.2, "", 50, 0, [Prompt(name, number, b"", name)], name))
        timeline(RowsSettled(1))
        if number % 10 == 9:
            timeline(Heartbeat((standing,)))
    found: dict[str, Any] = orjson.loads(orjson.dumps(timeline.record()))
    return found


def record(name: str = "d", *, at: str = "2026-11-20T10:00:00+00:00", **more: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "started": at,
        "seconds": 4.0,
        "worker": name,
        "host": name,
        "command": shlex.join(["batchscore", "score", name]),
        "exit_code": 4,
        "reason": name,
        "settings": {"task": "embeddings", "model": name, "prompt": name, "tpm": 60000},
        "endpoints": [{"name": name, "url": name, "auth": name, "rpm": None, "tpm": 1}],
        "read_as": [{"files": name, "how": name}],
        "this_run": {
            "ok": 40,
            "requests": 40,
            "prompt_tokens": 2000,
            "tokens_billed": 2000,
            "tokens_kept": 1990,
        },
        "files": [],
        "versions": {"python": name},
        "timeline": course(name),
        **more,
    }


def run(**more: Any) -> RecordedRun:
    found = run_from("x.json", orjson.dumps(record(**more)))
    assert isinstance(found, RecordedRun)
    return found


class Tags(HTMLParser):
    """The elements of a page and what stands in its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        self.script = tag == "script"
        if self.script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.script = False

    def handle_data(self, data: str) -> None:
        if self.script:
            self.scripts[-1] += data
        else:
            self.text += data


def parsed(material: PageData) -> Tags:
    found = Tags()
    # Python's parser takes its time for 200 kB of a script that is the same on each page.
    found.feed(page(material).decode().replace(source("vendor/chart.umd.min.js"), ""))
    return found


def material(name: str) -> PageData:
    """Give an output in which everything that somebody may have named is named so."""
    clean = name.encode("utf-8", "replace").decode()
    origins = [Origin(name, number, name) for number in range(4)]
    failed = FailedRow(name, 3, name, name, 400, 1)
    task = TaskData(
        "embeddings",
        [run(name=clean)],
        [FileAccount(name, "complete", 10, 9, 1, 0, name, 4, 100, 90)],
        failures=Failures(1, 1, {"input_too_long": 1}, {"input_too_long": [failed]}),
        map=map_of(np.eye(4, dtype=np.float32), origins),
    )
    return PageData(name, 0.0, [task], [name])


@cache
def plain_page() -> Tags:
    return parsed(material("plain"))


@settings(max_examples=examples(30))
@given(words)
@example(HOSTILE[0])
@example(HOSTILE[6])
def test_names_stay_text(name: str) -> None:
    plain, hostile = plain_page(), parsed(material(name))
    # A word of a command that has a hyphen is a `span`, also a word of a name.
    ours, theirs = ([tag for tag, _ in each.tags if tag != "span"] for each in (plain, hostile))
    assert theirs == ours
    attributes = {key for _, found in hostile.tags for key, _ in found}
    assert attributes == {key for _, found in plain.tags for key, _ in found}
    assert hostile.scripts[1:] == plain.scripts[1:]
    (chart,) = [each for each in json.loads(hostile.scripts[0]) if each["type"] == "scatter"]
    assert chart["series"][0]["tips"][0][0] == visible(name)
    assert visible(name) in hostile.text or not visible(name)


@given(st.text())
@example("\u202e\u2066\u200b\u2028")
def test_invisible_characters_are_shown_by_their_number(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200e\u200f\x00\n"
    )
    assert "<" not in html(text)
    assert '"' not in html(text)


json_values = st.recursive(
    st.text(max_size=20) | st.integers(-5, 5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=4,
)


@given(json_values | st.sampled_from(HOSTILE))
def test_json_in_a_script_says_the_same_and_ends_nothing(value: Any) -> None:
    try:
        text = data(value)
    except TypeError:
        return  # halves of characters, which `visible` takes out before
    assert "<" not in text
    assert json.loads(text) == value


def test_the_page_loads_nothing_and_runs_only_its_own_scripts() -> None:
    found = parsed(material("x"))
    policy = next(dict(told)["content"] for tag, told in found.tags if "http-equiv" in dict(told))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    text = page(material("x")).decode()
    assert "sourceMappingURL" not in text
    assert [url for _, told in found.tags for key, url in told if key in {"src", "href"}] == [
        "data:,",
        "#first",
    ]


def test_the_page_says_how_files_were_read() -> None:
    read_as = [{"files": "a.csv and 2 more", "how": "delimiter ;, encoding latin-1"}]
    found = run_from("x.json", orjson.dumps(record() | {"read_as": read_as}))
    assert isinstance(found, RecordedRun)
    text = page(PageData("out", 0.0, [TaskData("embeddings", [found], [])], ())).decode()
    assert "How the last run read its files" in text
    assert "delimiter ;, encoding latin-1" in text
    plain = run_from("x.json", orjson.dumps(record() | {"read_as": []}))
    assert isinstance(plain, RecordedRun)
    assert (
        "How the last run"
        not in page(PageData("out", 0.0, [TaskData("embeddings", [plain], [])], ())).decode()
    )


@given(st.binary(max_size=60))
def test_any_bytes_are_a_run_or_a_reason(found: bytes) -> None:
    assert isinstance(run_from("x", found), (RecordedRun, str))


@given(
    st.sampled_from(list(record())),
    st.sampled_from([None, 7, -1, "x", [], {}, [None], {"columns": {}}, True]),
)
def test_a_record_with_any_odd_value_still_gives_a_page(key: str, value: Any) -> None:
    found = run_from("x.json", orjson.dumps(record() | {key: value}))
    if isinstance(found, RecordedRun):
        assert page(PageData("out", 0.0, [TaskData("embeddings", [found], [])], [found.problem]))


def test_of_a_file_that_is_not_read_completely_the_remaining_rows_are_unknown() -> None:
    files = [FileAccount("a.csv", "partial", 1, 1, 0, 0), FileAccount("b.csv", "not_started", 0, 0, 0, 0)]
    task = TaskData("embeddings", [run()], files)
    shown = page(PageData("out", 0.0, [task], ())).decode()
    assert "of 1 read so far in 2 files" in shown
    assert "1 file not read completely, 1 file not started" in shown
    rows = [
        [re.sub("<[^>]*>", "", each) for each in row.split("</td>")]
        for row in shown.split("<tr>")
        if ".csv<" in row
    ]
    assert [row[2:7] for row in rows] == [["1", "1", "0", "0", NOTHING], [NOTHING, "0", "0", "0", NOTHING]]
    assert "set --price-in and --price-out" in shown


def test_the_totals_of_an_output_with_a_killed_run_are_lower_bounds() -> None:
    """A killed run has recorded none of what it sent and cost."""
    priced = {"settings": {"task": "embeddings", "model": "m", "price_in": 1000.0}}
    dead = run(**priced, exit_code=None, this_run={}, seconds=None, timeline=None, reason=None)
    shown = str(figures(TaskData("embeddings", [dead, run(**priced)], []), None))
    assert [f">at least {amount}<" in shown for amount in ("2,000", "2.00", "40", "4 s")] == [True] * 4, shown
    assert shown.count("1 run did not end") == 2
    assert "without prices" not in shown
    assert "at least" not in str(figures(TaskData("embeddings", [run(**priced)], []), None))
    alone = str(figures(TaskData("embeddings", [dead], []), None))
    assert "at least" not in alone
    assert alone.count(">unknown<") == 5
    assert str(tables.runs_table(TaskData("embeddings", [dead], []))).count(f">{NOTHING}<") == 6
    for runs, said in (([run()], "failed."), ([dead, run()], "failed in the runs that ended."), ([dead], "")):
        assert f">{f'No request {said}' if said else 'Unknown.'}<" in str(tables.retries(runs))


def test_rows_that_failed_are_before_empty_ones_and_open() -> None:
    counts = {"empty_input": 40, "timeout": 30, "content_filter": 20, "unreadable_row": 2}
    shown = str(tables.failures(Failures(92, 92, counts)))
    found = re.findall("<details( open)?><summary>([a-z ]+): ", shown)
    heads = [("timeout", " open"), ("content filter", ""), ("unreadable row", " open"), ("empty input", "")]
    assert [(name, is_open) for is_open, name in found] == heads
    assert "<details open" not in str(tables.failures(Failures(3, 3, {"empty_input": 3})))


def test_an_old_damaged_or_newer_timeline_is_reported() -> None:
    whole = course("d")
    for timeline, words_ in (
        (None, "earlier version"),
        ({"version": 99}, "later version"),
        ({**whole, "columns": {}}, "damaged"),
        ({**whole, "bin_seconds": 0}, "damaged"),
        ({**whole, "round_trips": [[[1, "x"]]]}, "damaged"),
    ):
        found = run(timeline=timeline)
        assert found.timeline is None
        assert words_ in found.problem


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 8)), min_size=1, max_size=5))
def test_runs_on_one_axis_lose_nothing(starts: list[tuple[int, int]]) -> None:
    runs = [
        run(at=f"2026-11-20T10:{second // 60:02}:{second % 60:02}+00:00", timeline=course("d", seconds))
        for second, seconds in starts
    ]
    found = time_axis(runs)
    assert found is not None
    assert round(found.total("requests")) == sum(seconds * 10 for _, seconds in starts)
    assert sum(map(Counter.total, found.steps)) == sum(seconds * 10 for _, seconds in starts)
    assert len(found.labels) == len(found.seconds)


@pytest.mark.parametrize(
    ("count", "width", "clock", "ticks"),
    [
        (6, 0.25, "elapsed", ["0 s", "0.25 s", "0.5 s", "0.75 s", "1 s", "1.25 s"]),
        (16, 0.25, "elapsed", ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s", "3.5 s"]),
        (
            120,
            1.0,
            "elapsed",
            ["0 s", "15 s", "30 s", "45 s", "1 min", "1 min 15 s", "1 min 30 s", "1 min 45 s"],
        ),
        (100, 33.0, "elapsed", ["0 s", "10 min", "20 min", "30 min", "40 min", "50 min"]),
        (
            120,
            7.0,
            "UTC",
            ["10:02:00", "10:04:00", "10:06:00", "10:08:00", "10:10:00", "10:12:00", "10:14:00"],
        ),
        (24, 0.125, "UTC", ["10:01:13", "10:01:14", "10:01:15"]),
    ],
)
def test_ticks_are_at_round_times(count: int, width: float, clock: str, ticks: list[str]) -> None:
    first = 0.0 if clock == "elapsed" else 1_795_168_873.0  # 10:01:13
    found = ticks_of(first + width * np.arange(count), np.full(count, width), clock)
    assert len(found) == count
    assert [each for each in found if each] == ticks


def test_two_short_runs_on_two_days_have_one_tick_each() -> None:
    times = 1_795_168_860.0 + np.array([*np.arange(24.0), *(86_400 + np.arange(24.0))])
    found = ticks_of(times, np.ones(48), "UTC")
    assert [place for place, each in enumerate(found) if each] == [0, 24]


def test_a_command_breaks_between_its_words() -> None:
    task = TaskData("embeddings", [run(exit_code=None)], [FileAccount("a.csv", "partial", 1, 1, 0, 0)])
    shown = page(PageData("out", 0.0, [task], ())).decode()
    assert "<code>batchscore score d" in shown
    with_option = run(exit_code=None, command="batchscore score d -o out --task chat")
    shown = page(PageData("out", 0.0, [replace(task, runs=[with_option])], ())).decode()
    assert "score d <span>-o</span> out <span>--task</span> chat</code>" in shown


def test_a_deployment_that_answered_nothing_is_not_up() -> None:
    assert (
        state_text({"state": "up", "requests": 3, "failed_requests": 2, "refused": 1})
        == "no request succeeded"
    )
    assert state_text({"state": "up", "requests": 3, "failed_requests": 2}) == "up"
    assert state_text({"state": "up", "requests": 0}) == "up"
    assert state_text({"state": "down", "last_failure": "timeout", "requests": 1}) == "down timeout"


def test_the_slowest_hundredth_is_drawn_above_an_equal_percentile_and_in_the_figures() -> None:
    axis = time_axis([run()])
    assert axis is not None
    chart = charts.latency(axis)
    assert chart is not None
    _, p95, p99 = chart.spec["series"]
    assert p99["data"] == p95["data"], "so that one could hide the other"
    assert (p99["label"], p99["dotted"], p99["order"]) == ("p99", True, -1)
    assert re.search(r"median; p95 \d+ ms, p99 \d+ ms", str(figures(TaskData("chat", [run()], []), axis)))


def test_counts_have_whole_ticks() -> None:
    shown = json.loads(next(each for each in plain_page().scripts if each.startswith("[{")))
    axes = [each[side] for each in shown for side in ("y", "y2") if isinstance(each.get(side), dict)]
    counted = [
        axis for axis in axes if axis.get("unit") not in {"per minute", "seconds", "% of the time", None}
    ]
    assert "in flight" in {axis["unit"] for axis in counted}
    assert all(axis.get("whole") for axis in counted)


def test_rows_that_several_runs_have_tried_are_counted_as_such() -> None:
    """With `--retry-errors`, more rows got a record than there are."""
    axis = time_axis([run(), run(started="2026-11-21T10:00:00+00:00")])
    assert axis is not None
    chart = charts.rows(axis)
    assert chart is not None
    assert chart.says == "Rows that got a record, a retried row each time: 80 scored."
    task = TaskData("embeddings", [run()], [FileAccount("a.csv", "complete", 40, 40, 0, 0)])
    assert "scored rows per minute" in str(figures(task, axis))


def test_nothing_is_a_part_of_nothing() -> None:
    """No `0 of 0`, whatever has not begun."""
    started = run(settings={"task": "chat", "schema": "{}"}, this_run={}, timeline=course("d", 0))
    for files in (
        [],
        [FileAccount("a.csv", "not_started", 0, 0, 0, 0)],
        [FileAccount("a.csv", "complete", 0, 0, 0, 0)],
    ):
        text = parsed(PageData("out", 0.0, [TaskData("chat", [started], files)], ())).text
        assert not re.search(r"\bof 0\b|\b0 / 0\b", text)


def test_limits_add_up_over_machines_and_not_over_processes_of_one() -> None:
    def limits(*hosts: str) -> set[float]:
        found = time_axis([run(host=host) for host in hosts])
        assert found is not None
        return {*found.limits["tpm"].tolist()}

    assert limits("a") == limits("a", "a") == {60000.0}
    assert limits("a", "b") == {120000.0}
    found = time_axis([run()])
    assert found is not None
    used = found.used("tpm")
    assert used is not None
    assert 0.45 < used < 0.55


def test_the_verdict_has_the_next_step() -> None:
    def said(*files: FileAccount, **more: Any) -> tuple[str, str, str]:
        found = verdict(TaskData("embeddings", [run(**more)], files, failures=failures), "out")
        assert found.next_step is not None
        return found.kind, found.title, found.next_step.command

    failures = Failures(2, 2, {"timeout": 2})
    whole = FileAccount("a", "complete", 10, 10, 0, 0)
    assert said(whole)[0] == "good"
    assert said(whole, whole)[1] == "Complete: 20 of 20 rows scored"
    empty = FileAccount("a", "complete", 10, 9, 1, 1)
    assert said(empty)[1] == "Complete: 9 of 10 rows scored; 1 empty"
    assert said(FileAccount("a", "complete", 2, 0, 2, 2))[:2] == (
        "look",
        "Nothing to score: 2 rows, none with text",
    )
    broken = [FileAccount(name, "unreadable", 1, 1, 0, 0, f"{name} breaks off") for name in ("a", "b")]
    unreadable = verdict(TaskData("embeddings", [run()], broken), "out")
    assert unreadable.reason == "a: a breaks off (the others are below, under Files)"
    some = FileAccount("b", "complete", 10, 6, 4, 1)
    others = verdict(TaskData("embeddings", [run()], [*broken, some]), "out")
    assert (
        others.title == "2 files cannot be read; of the others, 8 of 12 rows scored; 1 empty; 3 rows failed"
    )
    kind, title, command = said(FileAccount("a", "complete", 10, 8, 2, 0))
    assert (kind, title[:20], command) == ("look", "2 rows failed (20 %)", "batchscore score d")
    for code in ("input_too_long", "content_filter", "invalid_request", "over_quota"):
        failures = Failures(2, 2, {code: 2})
        edited = "batchscore score d --retry-errors --incremental"
        assert said(FileAccount("a", "complete", 10, 8, 2, 0))[2] == edited
    failures = Failures(2, 2, {"unreadable_row": 2})
    assert said(FileAccount("a", "complete", 10, 8, 2, 0))[2] == "batchscore score d --incremental"
    failures = Failures(2, 2, {"invalid_answer": 2})
    assert said(FileAccount("a", "complete", 10, 8, 2, 0))[2] == "batchscore score d --retry-errors"
    failures = Failures(2, 2, {"unreadable_row": 2})
    unknown = verdict(
        TaskData(
            "embeddings", [run(command=None)], [FileAccount("a", "complete", 10, 8, 2, 0)], failures=failures
        ),
        "out",
    )
    assert str(unknown.next_step).endswith("run the same command again with --incremental.")
    shared = {"settings": {"task": "embeddings", "shared_output": True}}
    assert said(FileAccount("a", "complete", 10, 8, 2, 0), **shared)[2] == ""
    share = {"exit_code": 0, "settings": shared["settings"] | {"part_of": "1/2"}}
    waiting = verdict(
        TaskData("embeddings", [run(**share)], [FileAccount("a", "partial", 9, 9, 0, 0)]), "out"
    )
    assert str(waiting.next_step).endswith(" scores one, run: batchscore verify out --task embeddings")
    changed = {"exit_code": 1, "reason": "a has changed since it was scored. Add incremental"}
    assert said(FileAccount("a", "partial", 9, 3, 0, 0), **changed)[2] == "batchscore score d --incremental"
    passed = {"command": "batchscore score d --deadline 2026-01-01T08:00 --batch-rounds 0", "exit_code": 4}
    for reason, left in (
        ("the run must end by deadline 2026-01-01T08:00.", "--batch-rounds 0"),
        ("batch_rounds 0 sends nothing, which leaves 7 rows", "--deadline 2026-01-01T08:00"),
    ):
        offered = said(FileAccount("a", "partial", 9, 3, 0, 0), **passed, reason=reason)[2]
        assert offered == f"batchscore score d {left}", "what stopped it would stop the next run, too"
    assert said(FileAccount("a", "not_started", 0, 0, 0, 0))[:2] == ("look", "No row was scored")
    for code in ExitCode:
        # The terminal decides by the same words.
        kind, _, _ = said(FileAccount("a", "partial", 9, 3, 0, 0), exit_code=int(code))
        assert kind == ("bad" if code in {1, 2, 3, 6} else "look"), code
    assert said()[0] == "bad"
    limited = {
        "reason": "--limit was reached",
        "command": "batchscore score 'a b' --limit 5 -o out --limit=6",
    }
    assert said(FileAccount("a", "partial", 9, 9, 0, 0), **limited)[2] == "batchscore score 'a b' -o out"


# --- vectors and answers


def rows(count: int) -> list[Origin]:
    return [Origin(f"{number % 3}.csv", number) for number in range(count)]


def test_the_map_shows_the_two_widest_directions() -> None:
    draw = np.random.default_rng(1)
    wide = draw.standard_normal((300, 2)) * (9, 4)
    turn, _ = np.linalg.qr(draw.standard_normal((20, 20)))
    table = (np.hstack([wide, draw.standard_normal((300, 18)) * 0.1]) @ turn + 3).astype(np.float32)
    found = map_of(table, rows(300))
    exact = np.linalg.svd(table - table.mean(axis=0), compute_uv=False)
    assert np.allclose(found.explained, exact[:2] ** 2 / (exact**2).sum(), rtol=1e-3)
    assert abs(np.corrcoef(found.places[:, 0], wide[:, 0])[0, 1]) > 0.99
    assert (map_of(table, rows(300)).places == found.places).all()
    assert [len(indexes) for _, indexes in vectors.points_by_file(found, 2)] == [100, 200]


def test_problems_of_vectors_are_reported() -> None:
    draw = np.random.default_rng(2).standard_normal((30, 8)).astype(np.float32)
    sound = map_of(draw, rows(30))
    assert [kind for kind, _ in vectors.findings(sound)] == ["fine"]
    odd = draw.copy()
    odd[3], odd[4, 0], odd[6] = 0, np.nan, odd[5] * 3
    found = map_of(odd, rows(30))
    assert (found.zero, found.odd, found.near, found.rows_in_pairs) == (1, 1, 1, 2)
    assert [(pair.first.row, pair.second.row) for pair in found.examples] == [(5, 6)]
    assert len(found.origins) == len(found.places) == 28
    assert {kind for kind, _ in vectors.findings(found)} == {"look"}
    same = map_of(np.ones((30, 8), np.float32), rows(30))
    assert "All vectors are the same" in vectors.findings(same)[0][1]
    assert same.near == 30 * 29 // 2
    assert "hardly differ" in vectors.findings(map_of(draw * 0.01 + 1, rows(30)))[0][1]


@given(st.integers(0, 6), st.integers(1, 4), st.sampled_from([0.0, 1.0, 1e30, 1e-30, float("inf")]))
def test_any_vectors_have_a_map(count: int, dimensions: int, size: float) -> None:
    table = np.random.default_rng(count).standard_normal((count, dimensions)).astype(np.float32) * np.float32(
        size
    )
    found = map_of(table, rows(count))
    assert found.places.shape == (len(found.origins), 2)
    assert np.isfinite(found.places).all()
    assert vectors.findings(found)


def test_the_values_of_enum_fields_are_counted_wherever_they_are() -> None:
    answers = [
        {"kind": "a", "inner": {"level": 1}, "tags": ["x", "y"]},
        {"kind": "a", "inner": None, "tags": []},
        {"kind": "b", "inner": {"level": None}, "tags": ["x"]},
    ]
    level = {"type": "object", "properties": {"level": {"enum": [1, 2, None]}}}
    schema = {
        "properties": {
            "kind": {"$ref": "#/$defs/kind"},
            "inner": {"anyOf": [level, {"type": "null"}]},
            "tags": {"type": "array", "items": {"enum": ["x", "y", "z"]}},
            "text": {"type": "string"},
        },
        "$defs": {"kind": {"enum": ["a", "b", "c"]}},
    }
    assert enum_counts(answers, schema) == {
        "kind": {"a": 2, "b": 1, "c": 0},
        "inner.level": {"1": 1, "2": 0, "null": 1},
        "tags[]": {"x": 2, "y": 1, "z": 0},
    }
    around = {f"p{number}": {"$ref": "#/$defs/N"} for number in range(20)}
    assert enum_counts(answers, {"$ref": "#/$defs/N", "$defs": {"N": {"properties": around}}}) == {}
    # What a damaged record holds in the place of a schema.
    for odd in (None, [], {"properties": 5}, {"$ref": "#"}, {"enum": [[1], {}]}):
        enum_counts(answers, odd)


def test_problems_of_answers_are_reported() -> None:
    fine = answer_stats(
        [answer_of(f"answer {number}", "stop", {"completion_tokens": 3}) for number in range(20)]
    )
    assert [kind for kind, _ in answers.findings(fine)] == ["fine"]
    assert [each.unit for each in fine.lengths] == ["characters", "tokens"]
    cut = answer_stats(
        [answer_of("same", "length", None)] * 18 + [answer_of(None, "content_filter", None)] * 2
    )
    said = " ".join(words_ for _, words_ in answers.findings(cut))
    assert all(word in said for word in ("cut off", "filtered", "empty", "same text"))
    assert answer_stats([]).sampled == 0


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_every_length_is_in_one_bar(lengths: list[int]) -> None:
    found = histogram("characters", lengths)
    assert found is not None
    assert sum(found.counts) == len(lengths)
    assert len(found.starts) == len(found.counts) <= answers.MOST_BARS + 1


def test_error_codes_of_earlier_versions_are_counted_under_their_present_names(tmp_path: Path) -> None:
    codes = ["bad_reply", "invalid_response", "too_long", "connection", "of_a_later_version", "", None]
    lines = [{"file": "a.csv", "row": row, "error": {"code": code}} for row, code in enumerate(codes)]
    text = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    (tmp_path / "part.jsonl").write_bytes(text)
    part = StoredPart("part.jsonl", len(text), len(lines))
    account = FileAccount("a.csv", "complete", 7, 0, 7, 0, error_parts=(part,))
    found = read_failures(tmp_path, [account], until=inf)
    assert found.by_code == {
        "invalid_response": 2,
        "input_too_long": 1,
        "connection_error": 1,
        "of_a_later_version": 1,
        "unknown": 2,
    }
