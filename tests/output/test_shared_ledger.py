"""Workers publish the same rows at once, each with answers of its own; the result is always correct."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batchscore.errors import ErrorCode, ExitCode, InputChanged, OutputError, OutputOverwritten
from batchscore.output.layout import Layout
from batchscore.output.manifest import read_manifest
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.output.share import WHOLE, Share
from batchscore.output.shared_ledger import SharedLedger
from batchscore.output.spec import OutputSpec
from batchscore.output.verify import verify_output
from batchscore.rows import Prompt, RowError, Score, Settled
from sampled import mostly_slow

FILE = "a.csv"
ROWS = 23
PER_PART = 5
FINGERPRINT = {"format": "jsonl", "rows_per_part": PER_PART}


def ledger(out: Path, scratch: Path, file: str = FILE, share: Share = WHOLE) -> SharedLedger:
    made = SharedLedger(
        OutputSpec(
            Layout(out, "embeddings", ".jsonl"),
            format_named("jsonl"),
            RecordSchema("embeddings"),
            PER_PART,
            FINGERPRINT,
            scratch=scratch,
            shared=True,
            share=share,
            files={file: ""},
        )
    )
    made.prepare()
    return made


def prompts(rows: int = ROWS, file: str = FILE) -> Iterator[Prompt]:
    for row in range(rows):
        yield Prompt(file, row, f'"row {row}"'.encode())


def answer(row: int, draw: random.Random) -> Settled:
    """Return a score of the row's number and a unique one, or an error."""
    result: Score | RowError = Score(np.float32([row, draw.random(), 0, 1]))
    if draw.random() < 0.2:
        code = draw.choice([ErrorCode.TIMEOUT, ErrorCode.CONTENT_FILTER])
        result = RowError(code, "no answer", 500, 1)
    return Settled(FILE, row, result)


class KilledError(Exception):
    """A worker was killed."""


def work(out: Path, scratch: Path, seed: int, *, killed: float) -> None:
    """Deliver the file once, as `job` does; raises `KilledError` at any step with a chance of `killed`."""
    draw = random.Random(seed)

    def step() -> None:
        time.sleep(draw.choice([0, 0, 0.001, 0.004]))
        if draw.random() < killed:
            raise KilledError

    own = ledger(out, scratch)
    progress = own.start(FILE, "")
    if progress is None:
        own.close()
        return
    waiting: list[Prompt] = []
    for item in progress.unanswered(prompts()):
        assert isinstance(item, Prompt)
        waiting.append(item)
    progress.end()
    draw.shuffle(waiting)
    for part in progress.completed():
        own.publish(own.encode(part))
    for item in waiting:
        own.charge([item], 3, kept=True)
        for part in own.settle([answer(item.row, draw)]):
            step()
            encoded = own.encode(part)
            step()
            own.publish(encoded)
    del own.open[FILE]
    manifest = own.manifests[FILE]
    manifest.state, manifest.input = "complete", "blake2b:the same"
    step()
    own.finish(FILE)
    own.close()


def delivered(out: Path, scratch: Path, seed: int, killed: float) -> str:
    try:
        work(out, scratch, seed, killed=killed)
    except KilledError:
        return "killed"
    except OutputOverwritten:
        return "overwritten"
    return "through"


@mostly_slow("seed", range(120), [0])
def test_any_interleaving_ends_in_one_record_a_row(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    out = tmp_path / "out"
    with ThreadPoolExecutor(4) as pool:
        ended = [
            pool.submit(delivered, out, tmp_path / f"scratch-{number % 2}", seed * 100 + number, killed)
            for number, killed in enumerate([0.0, 0.05 * draw.randrange(3), 0.05, 0.0])
        ]
        results = [each.result() for each in ended]
    if set(results) != {"through"}:
        # A mini-batch whose worker did not finish is delivered again.
        assert delivered(out, tmp_path / "scratch-0", seed * 100 + 50, 0.0) == "through"
    verdict = verify_output(out)
    assert verdict.exit_code is ExitCode.DONE, (
        results,
        [(one.place[-60:], one.what) for one in verdict.problems],
        verdict.missing,
        verdict.files,
    )
    assert verdict.total("rows") == ROWS == verdict.total("ok") + verdict.total("errors")
    manifest = read_manifest(Layout(out, "embeddings", "").manifest(FILE))
    for commit in manifest.parts.values():
        if commit.scores is not None:
            path = out / "embeddings" / commit.scores.name
            for settled in format_named("jsonl").decode_scores(path, RecordSchema("embeddings")):
                assert isinstance(settled.result, Score)
                assert settled.result.value[0] == settled.row
    assert manifest.costs["tokens_kept"] <= manifest.costs["tokens_billed"]


def work_on_share(
    out: Path, scratch: Path, share: Share, seed: int, *, killed: float, paid: list[int]
) -> None:
    """Score one worker's share of the file, or be killed at any step; `paid` are the rows that were sent."""
    draw = random.Random(seed)

    def step() -> None:
        time.sleep(draw.choice([0, 0, 0.001]))
        if draw.random() < killed:
            raise KilledError

    own = ledger(out, scratch, share=share)
    try:
        progress = own.start(FILE, "xxh3:same")
        if progress is None:
            return
        holds = own.shares[FILE].holds
        waiting = [*progress.unanswered(item for item in prompts() if holds(item.row))]
        progress.end()
        draw.shuffle(waiting)
        # Those that are complete from their journals.
        for part in progress.completed():
            own.publish(own.encode(part))
            step()
        for item in waiting:
            paid.append(item.row)
            for part in own.settle([answered(item.row)]):
                step()
                own.publish(own.encode(part))
                step()
        manifest = own.manifests[FILE]
        manifest.state, manifest.input = "complete", "xxh3:same"
        step()
        own.finish(FILE)
    finally:
        own.close()  # as the kernel does when a process ends


@mostly_slow("seed", range(120), [0, 1])
def test_workers_with_shares_score_each_row_once(tmp_path: Path, seed: int) -> None:
    """At once, killed at any step, and completed by other numbers of workers."""
    draw, out, paid = random.Random(seed), tmp_path / "out", list[int]()

    def deliver(share: Share, number: int, killed: float) -> bool:
        try:
            work_on_share(out, tmp_path / "scratch", share, seed * 100 + number, killed=killed, paid=paid)
        except KilledError:
            return False
        return True

    def is_complete() -> bool:
        verdict = verify_output(out)
        assert not verdict.problems, verdict.problems
        return verdict.exit_code is ExitCode.DONE

    for workers, killed in ((draw.choice([2, 3, 4]), 0.1), (draw.choice([2, 4, 5]), 0.05), (4, 0.0)):
        shares = [Share(number, workers) for number in range(1, workers + 1)]
        with ThreadPoolExecutor(workers) as pool:
            ended = list(pool.map(lambda share: deliver(share, share.number, killed), shares))  # noqa: B023
        if all(ended):
            break
    assert is_complete()
    assert sorted(paid) == list(range(ROWS))
    manifest = read_manifest(Layout(out, "embeddings", "").manifest(FILE))
    assert (manifest.state, manifest.rows, manifest.ok) == ("complete", ROWS, ROWS)
    assert not list((tmp_path / "scratch").rglob("*.journal"))


def test_an_output_without_one_share_is_not_complete(tmp_path: Path) -> None:
    """In any order of the workers, and whether the last part is there or not."""
    for without in range(1, 4):
        out = tmp_path / f"out-{without}"
        for number in (1, 2, 3):
            if number != without:
                work_on_share(out, tmp_path / "a", Share(number, 3), 0, killed=0.0, paid=[])
        verdict = verify_output(out)
        assert (verdict.exit_code, verdict.problems) == (ExitCode.CONTINUE_LATER, [])
        # Without --part-of, a worker scores what is left.
        paid: list[int] = []
        work_on_share(out, tmp_path / "a", WHOLE, 0, killed=0.0, paid=paid)
        assert {row // PER_PART for row in paid} == {
            part for part in range(-(-ROWS // PER_PART)) if Share(without, 3).holds(FILE, part)
        }
        assert verify_output(out).exit_code is ExitCode.DONE


def test_workers_do_not_score_shares_of_different_versions(tmp_path: Path) -> None:
    """Their parts are different ones, so that only the digest of the file shows it."""
    work_on_share(tmp_path / "out", tmp_path / "a", Share(1, 2), 0, killed=0.0, paid=[])
    second = ledger(tmp_path / "out", tmp_path / "a", share=Share(2, 2))
    assert second.needs_digest(FILE)
    with pytest.raises(InputChanged, match=r"a\.csv has changed since it was scored"):
        second.start(FILE, "xxh3:other")
    second.close()


def test_published_scores_are_kept_when_a_later_worker_publishes(tmp_path: Path) -> None:
    """The second worker began before the first published: its results for the same rows are dropped."""
    first, second = ledger(tmp_path / "out", tmp_path / "a"), ledger(tmp_path / "out", tmp_path / "b")
    for own in (first, second):
        progress = own.start(FILE, "")
        assert progress is not None
        assert len(list(progress.unanswered(prompts(PER_PART)))) == PER_PART
        progress.end()

    def settle(own: SharedLedger, scored: dict[int, float]) -> None:
        rows = [
            Settled(FILE, row, Score(np.float32([row, scored[row]])))
            if row in scored
            else Settled(FILE, row, RowError(ErrorCode.CONTENT_FILTER, "refused", 400, 1))
            for row in range(PER_PART)
        ]
        (part,) = own.settle(rows)
        own.publish(own.encode(part))
        own.manifests[FILE].state = "complete"
        own.finish(FILE)
        own.close()

    settle(first, {0: 0.5, 1: 0.5, 2: 0.5})
    settle(second, {2: 0.25, 3: 0.25})
    (part,) = (tmp_path / "out" / "embeddings").iterdir()
    found = list(format_named("jsonl").decode_scores(part, RecordSchema("embeddings")))
    values = {row.row: row.result.value[1] for row in found if isinstance(row.result, Score)}
    assert values == {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.25}
    assert verify_output(tmp_path / "out").exit_code is ExitCode.DONE
    assert not list(tmp_path.glob("[ab]/*"))


def test_a_worker_with_a_limit_removes_nothing(tmp_path: Path) -> None:
    """It has read fewer rows of the part than the other, and has a score for a row that failed there."""
    first, second = ledger(tmp_path / "out", tmp_path / "a"), ledger(tmp_path / "out", tmp_path / "b")
    for own, rows in ((first, PER_PART), (second, 2)):
        progress = own.start(FILE, "")
        assert progress is not None
        list(progress.unanswered(prompts(rows)))
        progress.end()
    failed = RowError(ErrorCode.CONTENT_FILTER, "refused", 400, 1)
    rows = [Settled(FILE, row, Score(np.float32([row]))) for row in range(1, PER_PART)]
    for own, settled in ((first, [Settled(FILE, 0, failed), *rows]), (second, [answered(0), answered(1)])):
        (part,) = own.settle(settled)
        own.publish(own.encode(part))
        own.finish(FILE)
        own.close()
    verdict = verify_output(tmp_path / "out")
    assert not verdict.problems
    assert (verdict.total("rows"), verdict.total("ok")) == (PER_PART, PER_PART)


def test_a_part_is_written_again_without_rows_that_its_worker_has_not_read(tmp_path: Path) -> None:
    """The journal of a killed worker has answers to them. They stay there for a run that reads them."""
    killed = ledger(tmp_path / "out", tmp_path / "a")
    progress = killed.start(FILE, "")
    assert progress is not None
    list(progress.unanswered(prompts(PER_PART)))
    killed.settle([answered(row) for row in range(4)])
    killed.close()
    limited = ledger(tmp_path / "out", tmp_path / "a")
    progress = limited.start(FILE, "")
    assert progress is not None
    list(progress.unanswered(prompts(2)))
    (part,) = progress.open.values()
    limited.publish(limited.encode(part))
    (file,) = (tmp_path / "out" / "embeddings").iterdir()
    file.write_bytes(file.read_bytes()[:-30])  # as another worker tears it
    limited.finish(FILE)
    limited.close()
    manifest = read_manifest(Layout(tmp_path / "out", "embeddings", "").manifest(FILE))
    assert (manifest.rows, manifest.ok) == (2, 2)
    later = ledger(tmp_path / "out", tmp_path / "a")
    progress = later.start(FILE, "")
    assert progress is not None
    assert [item.row for item in progress.unanswered(prompts(PER_PART))] == [4]
    later.close()


def test_a_part_whose_row_numbers_have_gaps_is_written_again_whole(tmp_path: Path) -> None:
    """As of a text file with blank lines."""
    text = "a.txt"
    own = ledger(tmp_path / "out", tmp_path / "a", text)
    progress = own.start(text, "")
    assert progress is not None
    gaps = [item for item in prompts(PER_PART, text) if item.row % 2]
    assert len(list(progress.unanswered(iter(gaps)))) == len(gaps)
    progress.end()
    parts = own.settle([replace(answered(item.row), file=text) for item in gaps])
    for part in parts:
        own.publish(own.encode(part))
    for file in (tmp_path / "out" / "embeddings").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    own.manifests[text].state = "complete"
    own.finish(text)
    own.close()
    verdict = verify_output(tmp_path / "out")
    assert (verdict.problems, verdict.total("ok")) == ([], len(gaps))


def answered(row: int) -> Settled:
    return Settled(FILE, row, Score(np.float32([row])))


@pytest.mark.parametrize("rows", [1, 3])
def test_workers_with_different_rows_do_not_mix_them(tmp_path: Path, rows: int) -> None:
    """Also if one file is longer than the other."""
    first, second = ledger(tmp_path / "out", tmp_path / "a"), ledger(tmp_path / "out", tmp_path / "b")
    for own, text, count in ((first, b'"old"', 1), (second, b'"new"', rows)):
        progress = own.start(FILE, "")
        assert progress is not None
        list(progress.unanswered(Prompt(FILE, row, text) for row in range(count)))
        progress.end()
    (part,) = first.settle([answered(0)])
    first.publish(first.encode(part))
    first.finish(FILE)
    (part,) = second.settle([answered(row) for row in range(rows)])
    with pytest.raises(OutputError, match=r"a\.csv has changed while several workers"):
        second.publish(second.encode(part))
    first.close()
    second.close()


def test_workers_do_not_mix_equal_files_of_one_name_in_different_folders(tmp_path: Path) -> None:
    """Both began with an empty output: the second worker gets an error, in either order."""
    workers = [ledger(tmp_path / "out", tmp_path / scratch) for scratch in "ab"]
    for own, folder in zip(workers, "xy", strict=True):
        place = tmp_path / folder / FILE
        place.parent.mkdir()
        place.touch()
        own.spec = replace(own.spec, files={FILE: str(place)}, base_dir=False)
        progress = own.start(FILE, "")
        assert progress is not None
        list(progress.unanswered(prompts(2)))
        progress.end()
    (part,) = workers[0].settle([answered(0), answered(1)])
    workers[0].publish(workers[0].encode(part))
    workers[0].manifests[FILE].state = "complete"
    workers[0].finish(FILE)
    with pytest.raises(OutputError, match="Set base_dir to a folder"):
        workers[1].settle([answered(0), answered(1)])
    (tmp_path / "x").rename(tmp_path / "gone")
    (part,) = workers[1].settle([answered(0), answered(1)])
    workers[1].publish(workers[1].encode(part))
    workers[1].manifests[FILE].state = "complete"
    workers[1].finish(FILE)
    for own in workers:
        own.close()
    assert verify_output(tmp_path / "out").exit_code is ExitCode.DONE
