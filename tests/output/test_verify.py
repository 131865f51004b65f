"""Any damage of an output is found, and repaired by the command that wrote it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.api.read_scores import read_scores
from batchscore.errors import (
    BatchscoreError,
    ExitCode,
    InputError,
    OutputError,
    OutputIncomplete,
    OutputLocked,
    setting_name,
)
from batchscore.evaluate.scored import open_scores
from batchscore.output.locks.lock import hold_lock
from batchscore.output.merge import merge_output
from batchscore.output.missing import AGAIN, recorded_files
from batchscore.output.verify import Verification, verify_output
from batchscore.output.verify_parts import OutputProblem
from batchscore.report.page import tables
from batchscore.report.page.make import gather, write_report
from batchscore.report.page.sample import WITHOUT_SAMPLE
from batchscore.report.page.verdict import TaskVerdict, verdict
from batchscore.report.resume import step_after_check, step_to_complete
from batchscore.settings.declare import as_flag
from batchscore.stores.address import place_of
from batchscore.stores.storage import digest_file
from conftest import Cli
from hypothesis_profiles import examples

#: Each file has seven rows in three parts; the fifth has nothing to ask, so its part has errors, too.
FILES = ["f00.csv", "f03.csv", "f04.csv"]
COMMAND = ["score", "in", "-o", "out", "--task", "embeddings", "-m", "m", "--column", "text"]
COMMAND += ["--rows-per-part", "3", "--id", "id", "--dimensions", "8"]


@pytest.fixture(scope="module")
def outputs(scorer: Cli, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Score once in each format: pytest makes `scored` again whenever the next test has the other format."""

    @cache
    def made(form: str) -> Path:
        place = tmp_path_factory.mktemp(form)
        score(FILES, place, scorer, form)
        return place

    return made


@pytest.fixture(scope="module", params=["jsonl", "parquet"])
def scored(outputs: Callable[[str], Path], request: pytest.FixtureRequest) -> Path:
    """A real run's folder, with its input; tests work on copies."""
    return outputs(request.param)


def score(names: Sequence[str], place: Path, scorer: Cli, form: str) -> None:
    (place / "in").mkdir()
    for name in names:
        rows = [f"{row},{'' if row == 4 else f'{name} {row}'}\n" for row in range(7)]
        (place / "in" / name).write_text("id,text\n" + "".join(rows))
    done = scorer(*COMMAND, "--format", form, cwd=place)
    assert done.exit_code == 0, done.stderr


@pytest.fixture
def out(scored: Path, tmp_path: Path) -> Path:
    shutil.copytree(scored / "out", tmp_path / "out")
    return tmp_path / "out"


class Output:
    """The parts of one file in an output, which tests damage."""

    def __init__(self, root: Path, file: str) -> None:
        self.file = file
        self.stem = file.removesuffix(".csv")
        self.root = root
        (self.manifest,) = root.glob(f"manifest/embeddings/{self.stem}-*.json")

    def part(self, number: int, kind: str = "embeddings") -> Path:
        (path,) = self.root.glob(f"{kind}/part-{self.stem}-*-{number:05}.*")
        return path

    def digests(self, number: int) -> Path:
        (path,) = self.root.glob(f"manifest/embeddings/part-{self.stem}-*-{number:05}.rows")
        return path

    def errors(self) -> Path:
        return self.part(1, "errors/embeddings")

    def rewrite(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the manifest."""
        manifest = json.loads(self.manifest.read_bytes())
        change(manifest)
        self.manifest.write_text(json.dumps(manifest))

    def forge(self, number: int, change: Callable[[list[dict[str, Any]]], object]) -> None:
        """Change the records of a part and adapt size and digest in the manifest."""
        path = self.part(number)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            rows = table.to_pylist()
            change(rows)
            pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            change(rows)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))

        def fit(manifest: dict[str, Any]) -> None:
            part = manifest["parts"][number]["scores"]
            part.update(bytes=path.stat().st_size, digest=digest_file(path))

        self.rewrite(fit)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    """Change one digit, or one byte of it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def change(**fields: Any) -> Callable[[Output], None]:
    return lambda one: one.rewrite(lambda manifest: manifest.update(fields))


def change_commit(number: int, **fields: Any) -> Callable[[Output], None]:
    return lambda one: one.rewrite(lambda manifest: manifest["parts"][number].update(fields))


def forged(change: Callable[[list[dict[str, Any]]], object], number: int = 0) -> Callable[[Output], None]:
    return lambda one: one.forge(number, change)


def drop_last(one: Output) -> None:
    """Remove the last part, and all that its manifest says of it."""
    one.part(2).unlink()

    def forget(manifest: dict[str, Any]) -> None:
        manifest["parts"].pop()
        manifest.update(rows=6, ok=5)
        for name in ("attempts", "tokens_billed", "tokens_kept"):
            manifest[name] = sum(part[name] for part in manifest["parts"])

    one.rewrite(forget)


#: What is done to one file's output → what is said of it, and how many of its rows lose their record.
DAMAGES: dict[str, tuple[Callable[[Output], object], str, int]] = {
    "cut": (lambda one: cut(one.part(0)), "bytes instead of", 3),
    "empty": (lambda one: one.part(0).write_bytes(b""), "has 0 bytes instead of", 3),
    "longer": (lambda one: one.part(2).write_bytes(one.part(2).read_bytes() + b"\n"), "bytes instead of", 1),
    "digit": (lambda one: flip(one.part(0)), "was changed: its digest is not the same", 3),
    "gone": (lambda one: one.part(2).unlink(), "is missing", 1),
    "errors-gone": (lambda one: one.errors().unlink(), "is missing", 1),
    "errors-cut": (lambda one: cut(one.errors()), "bytes instead of", 1),
    "scores-of-a-mixed-part": (lambda one: cut(one.part(1)), "bytes instead of", 2),
    "both-of-a-part": (lambda one: (cut(one.part(1)), cut(one.errors())), "bytes instead of", 3),
    "exchanged": (
        lambda one: shutil.copy(one.part(2), one.part(0)),
        "bytes instead of",
        3,
    ),
    "doubled": (forged(lambda rows: rows.insert(1, rows[1])), "holds row 1 twice", 3),
    "removed": (forged(lambda rows: rows.pop(1)), "has no record of row 1", 3),
    "removed-last": (forged(lambda rows: rows.pop()), "holds 2 scores and 0 errors", 3),
    "out-of-order": (forged(lambda rows: rows.reverse()), "has no record of row 0", 3),
    "of-another-file": (forged(lambda rows: rows[0].update(file="g")), "holds a record of g", 3),
    "of-another-part": (forged(lambda rows: rows[2].update(row=3)), "which belongs to another part", 3),
    "scored-and-failed": (forged(lambda rows: rows[1].update(row=4), 1), "holds row 4 twice", 3),
    "count": (change_commit(0, ok=2), "holds 3 scores and 0 errors", 2),
    "rows": (change_commit(2, rows=9), "its manifest says", 1),
    "another-name": (
        change_commit(2, scores={"name": "part-x", "bytes": 1, "digest": ""}),
        "is not the file that its manifest names: part-x",
        1,
    ),
    "totals": (lambda one: one.rewrite(lambda manifest: manifest.update(ok=5)), "its totals are not", 0),
    "part-unnamed": (
        lambda one: one.rewrite(
            lambda manifest: (manifest["parts"].pop(1), manifest.update(rows=4, ok=4, errors=0))
        ),
        "names no part 1",
        0,
    ),
    "last-part-dropped": (drop_last, "states 6 rows, 5 scores and 1 errors; runs/", 0),
    "not-whole": (change_commit(2, whole=False), "rows of part 2 have no record", 0),
    "extra-part": (
        lambda one: shutil.copy(one.part(0), str(one.part(0)).replace("-00000.", "-00009.")),
        "is left over: no manifest names it",
        0,
    ),
    "manifest-gone": (lambda one: one.manifest.unlink(), "is left over: no manifest names it", 0),
    "manifest-cut": (lambda one: cut(one.manifest), "is not a manifest of batchscore", 0),
    "manifest-empty": (lambda one: one.manifest.write_bytes(b""), "is not a manifest of batchscore", 0),
    "manifest-odd": (change_commit(0, ok="three"), "parts[0].ok has a wrong value", 0),
    "manifest-list": (lambda one: one.manifest.write_text("[]"), "is not a manifest of batchscore", 0),
    "version-as-text": (change(version="1"), "version is not a whole number", 0),
    "no-fingerprint": (change(fingerprint=None), "fingerprint has a wrong value", 0),
    "figure": (change_commit(0, rows=1e30), "parts[0].rows has a wrong value", 0),
    "figure-beyond": (change_commit(0, part=2**64), "parts[0].part has a wrong value", 0),
    "field": (change_commit(0, more=1), "parts[0].'more' is unknown", 0),
    "file-of-part": (change_commit(0, scores={"name": "x"}), "parts[0].scores has a wrong value", 0),
    "scores-unnamed": (change_commit(0, scores=None), "part 0 states 3 ok and no file of them", 3),
    "dimensions": (change(dimensions=7), "states vectors of 7 numbers, but its records have 8", 0),
    "no-dimensions": (change(dimensions=None), "states vectors of None numbers, but", 0),
    "digests-flipped": (lambda one: flip(one.digests(0)), "was changed, or is not that of its part", 0),
    "digests-gone": (lambda one: one.digests(0).unlink(), "is missing", 0),
    "digests-exchanged": (
        lambda one: shutil.copy(one.digests(1), one.digests(0)),
        "was changed, or is not that of its part",
        0,
    ),
    "digests-left-over": (
        lambda one: shutil.copy(one.digests(0), str(one.digests(0)).replace("-00000.", "-00009.")),
        "is left over: no manifest names it",
        0,
    ),
    "pipe": (lambda one: put_pipe(one.part(0)), "is not a file", 3),
}  # fmt: skip

#: These differ from others only in detail.
RARE = {"no-fingerprint", "figure", "figure-beyond", "field", "file-of-part", "no-dimensions", "digests-gone"}
RARE |= {
    "digests-left-over",
    "digests-flipped",
    "errors-cut",
    "longer",
    "both-of-a-part",
    "not-whole",
    "count",
}


#: What readers of all scores must notice in different ways.
READ = {"empty", "digit", "exchanged", "totals", "manifest-gone", "version-as-text", "scores-unnamed"}

#: What tells by the records themselves. In Parquet all else runs as a slow test, since to read it takes five
#: times as long, and manifests, records of runs and names of files are the same.
SHOWN_BY_RECORDS = {"digit", "doubled", "of-another-file", "scored-and-failed", "dimensions"}

whatever_the_form = pytest.mark.parametrize(
    "scored", ["jsonl", pytest.param("parquet", marks=pytest.mark.slow)], indirect=True
)


def slow_if(damages: Iterable[str], slow: Container[str]) -> list[Any]:
    return [pytest.param(each, marks=pytest.mark.slow if each in slow else ()) for each in damages]


VECTORS: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "nan": (lambda rows: rows[1]["embeddings"].__setitem__(3, float("nan")), "finite"),
    "null": (lambda rows: rows[1]["embeddings"].__setitem__(3, None), "finite"),
    "short": (lambda rows: rows[1]["embeddings"].pop(), "7 dimensions instead of 8"),
    "text": (lambda rows: rows[1].update(embeddings="no"), "embeddings is str"),
    "none": (lambda rows: rows[1].pop("embeddings"), "line 2"),
}


def verdict_of(out: Path, *, repair: bool = False) -> Verification:
    return verify_output(out, repair=repair)


#: What a part cost differs with what was asked again.
COSTS = re.compile(rb'"(attempts|tokens_billed|tokens_kept)": \d+,\s*')


def tree(out: Path) -> dict[str, bytes]:
    """Return what settings and input determine: all files except run records and report, without costs."""
    told = [*out.glob("runs/*"), out / "report.html"]
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path not in told]
    return {str(path.relative_to(out)): COSTS.sub(b"", path.read_bytes()) for path in paths}


@pytest.mark.parametrize(
    ("place", "named"),
    [("out", "embeddings"), ("out/embeddings", "."), ("out/embeddings", ".."), ("out", ".")],
)
def test_an_output_is_found_by_each_name_of_its_folders(
    out: Path, monkeypatch: pytest.MonkeyPatch, place: str, named: str
) -> None:
    monkeypatch.chdir(out.parent / place)
    assert verify_output(place_of(named)).exit_code == ExitCode.DONE


def test_the_output_of_a_run_is_correct_and_complete(out: Path) -> None:
    before = tree(out)
    result = verdict_of(out)
    assert (result.exit_code, result.problems, result.missing) == (ExitCode.DONE, [], [])
    assert result.to_text() == (
        "14 rows have the id of an earlier row: f03.csv, row 0; f03.csv, row 1; f03.csv, row 2, … "
        "(the first row of a file is row 0)\n"
        "embeddings: 21 rows of 3 files = 18 scored + 0 failed + 3 empty + 0 not reached. "
        "Correct and complete."
    )
    assert tree(out) == before
    assert verdict_of(out, repair=True).exit_code == ExitCode.DONE
    assert tree(out) == before


@pytest.mark.parametrize(
    ("scored", "damage"),
    [
        pytest.param(form, damage, marks=pytest.mark.slow if damage in slow else ())
        for form, slow in (("jsonl", RARE), ("parquet", RARE | (DAMAGES.keys() - SHOWN_BY_RECORDS)))
        for damage in DAMAGES
    ],
    indirect=["scored"],
)
def test_each_damage_is_found_and_repaired(out: Path, damage: str) -> None:
    spoil, said, lost = DAMAGES[damage]
    spoil(Output(out, "f03.csv"))
    before = tree(out)
    result = verdict_of(out)
    assert result.exit_code == ExitCode.ACTION_NEEDED
    assert any(said in problem.what for problem in result.problems), result.problems
    assert all("f03" in problem.place for problem in result.problems)
    assert result.lost == lost
    unknown = result.problems[0].what.startswith("is not a manifest of")
    assert ("Damaged: the rows of 1 file are unknown. To remove" in result.to_text()) == unknown
    command = shlex.join(["batchscore", "verify", str(out), "--repair"])
    assert f"To remove the damage, run: {command}\n" in result.to_text()
    assert tree(out) == before
    json.dumps(result.to_json())

    repaired = verdict_of(out, repair=True)
    assert repaired.problems == result.problems
    assert repaired.lost == lost
    # Only what was not right has gone.
    after = tree(out)
    assert {name for name in before if after.get(name) != before[name]} <= {
        name for name in before if "f03" in name
    }
    again = verdict_of(out)
    assert again.problems == []
    # Of rows whose manifest is lost the run's record knows.
    assert again.exit_code in {ExitCode.DONE, ExitCode.CONTINUE_LATER}
    assert (repaired.exit_code, repaired.missing) == (again.exit_code, again.missing)
    assert ("The output is complete." in repaired.to_text()) == (again.exit_code == ExitCode.DONE)
    if lost or unknown:
        assert again.exit_code == ExitCode.CONTINUE_LATER
        assert "f03.csv" in again.missing[0]


def exchange(out: Path, one: tuple[str, int], other: tuple[str, int]) -> None:
    """Exchange two score files, and what the manifests say of their bytes."""
    first, second = Output(out, one[0]), Output(out, other[0])
    paths = first.part(one[1]), second.part(other[1])
    data = [path.read_bytes() for path in paths]
    for path, new in zip(paths, reversed(data), strict=True):
        path.write_bytes(new)
    for output, number, path in zip((first, second), (one[1], other[1]), paths, strict=True):
        stated = {"bytes": path.stat().st_size, "digest": digest_file(path)}
        output.rewrite(lambda fields, at=number, new=stated: fields["parts"][at]["scores"].update(new))


def readings(out: Path, folder: Path) -> list[object]:
    """Return what three readers make of all scores, or how they refuse them."""

    def merged(suffix: str) -> bytes:
        merge_output(out, folder / f"m{suffix}", overwrite=True)
        return (folder / f"m{suffix}").read_bytes()

    def read() -> list[object]:
        return [str(record) for record in read_scores(out).to_dict("records")]

    found: list[object] = []
    for reader in (lambda: merged(".jsonl"), lambda: merged(".parquet"), read):
        try:
            found.append(reader())
        except BatchscoreError as error:
            found.append(error)
    return found


@cache
def readings_before_damage(scored: Path) -> list[object]:
    return readings(scored / "out", scored)


@pytest.mark.parametrize("damage", slow_if(DAMAGES, DAMAGES.keys() - READ))
def test_readers_of_all_scores_refuse_each_damage_or_read_what_was_written(
    scored: Path, out: Path, damage: str
) -> None:
    DAMAGES[damage][0](Output(out, "f03.csv"))
    after = readings(out, out.parent)
    for old, new in zip(readings_before_damage(scored), after, strict=True):
        if isinstance(new, Exception):
            assert "f03" in str(new)
            assert "batchscore verify" in str(new) or AGAIN in str(new)
        else:
            assert new == old
    refused = sum(isinstance(new, Exception) for new in after)
    assert refused == (
        0 if damage.startswith(("errors", "digests", "extra")) or "dimensions" in damage else 3
    )


#: Only the records show these, if no run has recorded their digests.
FORGED = ["doubled", "removed", "removed-last", "out-of-order", "of-another-file", "of-another-part"]


@pytest.mark.parametrize("damage", slow_if(FORGED, FORGED[:-2]))
def test_readers_of_all_scores_compare_each_record_with_its_part(out: Path, damage: str) -> None:
    shutil.rmtree(out / "runs")
    DAMAGES[damage][0](Output(out, "f03.csv"))
    for found in readings(out, out.parent):
        assert re.search("f03.*(of g|3, which|row 0, twice|row 1, twice|2 records|4 records)", str(found))


@pytest.mark.parametrize("other", [("f03.csv", 2), ("f04.csv", 0)])
def test_parts_that_were_exchanged_with_their_digests_are_refused(out: Path, other: tuple[str, int]) -> None:
    shutil.rmtree(out / "runs")  # which hold a digest of all records
    exchange(out, ("f03.csv", 0), other)
    said = "holds row 6, which belongs to another part" if other[1] else "holds a record of f04.csv"
    for found in readings(out, out.parent):
        assert isinstance(found, BatchscoreError)
        assert said in str(found)
        assert f"batchscore verify {out}" in str(found)
    assert verdict_of(out).exit_code == ExitCode.ACTION_NEEDED


@pytest.mark.parametrize("damage", VECTORS)
def test_every_vector_is_checked(out: Path, damage: str) -> None:
    change, said = VECTORS[damage]
    one = Output(out, "f03.csv")
    if (one.part(0).suffix == ".parquet") != (damage == "nan"):
        return  # columns hold nothing but numbers, JSON no NaN
    one.forge(0, change)
    result = verdict_of(out)
    (problem,) = result.problems
    assert said in problem.what
    assert (problem.file, result.lost) == ("f03.csv", 3)
    assert verdict_of(out, repair=True).exit_code == ExitCode.CONTINUE_LATER


@pytest.mark.parametrize("form", ["jsonl", pytest.param("parquet", marks=pytest.mark.slow)])
def test_the_same_command_completes_a_repaired_output_and_scores_only_missing_rows(
    form: str, tmp_path: Path, scorer: Cli
) -> None:
    """One damage for each file, in one output: after the repair it is the same, byte by byte."""
    chosen = ["cut", "digit", "gone", "errors-gone", "scores-of-a-mixed-part", "both-of-a-part", "doubled"]
    chosen += ["removed", "count", "rows", "totals", "part-unnamed", "extra-part", "manifest-gone"]
    chosen += ["manifest-cut", "not-whole"]
    names = [f"f{number:02}.csv" for number in range(len(chosen))]
    score(names, tmp_path, scorer, form)
    before = tree(tmp_path / "out")
    for file, damage in zip(names, chosen, strict=True):
        DAMAGES[damage][0](Output(tmp_path / "out", file))
    found = scorer("verify", "out", "--json", cwd=tmp_path)
    assert found.exit_code == 1, found.stderr
    assert len(json.loads(found.stdout)["problems"]) >= len(chosen)
    offered = scorer("verify", "out", cwd=tmp_path).stdout.rpartition("\nTo resume, run: batchscore ")[2]
    repaired = scorer("verify", "out", "--repair", cwd=tmp_path)
    assert repaired.exit_code == 4, repaired
    assert repaired.stdout.endswith(f" removed. To resume, run: batchscore {offered}")
    lost = verify_output(tmp_path / "out").total("not_reached")
    assert lost == 3 + 3 + 1 + 1 + 2 + 3
    run = scorer(*shlex.split(offered), "--json", cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    # Parts whose record does not stand are asked as a whole, and the files without a manifest.
    dropped = 3 + 3 + 3 + 1 + 3 + 7 + 7
    assert json.loads(run.stdout.splitlines()[-1])["known"] == 7 * len(names) - lost - dropped
    assert verify_output(tmp_path / "out").exit_code == ExitCode.DONE
    assert tree(tmp_path / "out") == before


@pytest.mark.slow
def test_a_run_with_a_wrong_length_of_vectors_is_refused_and_works_after_a_repair(
    scored: Path, tmp_path: Path, scorer: Cli
) -> None:
    """Else each vector of the right length would be a bad reply, which is paid for."""
    shutil.copytree(scored / "in", tmp_path / "in")
    shutil.copytree(scored / "out", tmp_path / "out")
    (tmp_path / "in" / "new.csv").write_text("id,text\n1,new\n")
    run = [*COMMAND, "--format", scored.name.rstrip("0123456789")]
    for damage in ("dimensions", "no-dimensions"):
        DAMAGES[damage][0](Output(tmp_path / "out", "f03.csv"))
        refused = scorer(*run, cwd=tmp_path)
        assert refused.exit_code == 1
        assert f"out/manifest/embeddings/{Output(scored / 'out', 'f03.csv').manifest.name} " in refused.stderr
        assert "numbers, but the records have 8" in refused.stderr
        command = refused.stderr.splitlines()[-1].rpartition(" run: batchscore ")[2]
        assert scorer(*shlex.split(command), cwd=tmp_path).exit_code == 0
        assert scorer(*run, cwd=tmp_path).exit_code == 0
        assert scorer("verify", "out", cwd=tmp_path).exit_code == 0


def test_a_stopped_run_is_correct_but_incomplete(
    scored: Path, scorer: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scored / "in", tmp_path / "in")
    done = scorer(*COMMAND, "--limit", "11", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    plain = scorer("verify", "out", cwd=tmp_path)
    assert plain.exit_code == 4
    assert "incomplete: f03.csv: not read completely\n" in plain.stdout
    assert "; 1 file not read completely. Correct but incomplete. To score all rows, run: " in plain.stdout
    before = tree(tmp_path / "out")
    assert scorer("verify", "out", "--repair", cwd=tmp_path).exit_code == 4
    assert tree(tmp_path / "out") == before
    monkeypatch.chdir(tmp_path.parent)
    elsewhere = verify_output(tmp_path / "out")
    assert (step_after_check(elsewhere), elsewhere.exit_code) == ("", 4), "its paths are those of a folder"
    assert elsewhere.to_text().endswith("Run the same score command again to resume.")
    page = write_report(Path(tmp_path.name, "out")).read_text("utf-8")
    assert "To score all rows, run in the folder where the last run was started:" in page
    assert str(tmp_path / "out") in page
    next((tmp_path / "out" / "embeddings").iterdir()).unlink()
    for folder, again in (
        (tmp_path, "To score all rows, run: batchscore score in "),
        (tmp_path.parent, AGAIN),
    ):
        monkeypatch.chdir(folder)
        with pytest.raises(InputError) as refused:
            open_scores(tmp_path / "out")
        assert again in refused.value.text, "to evaluate"


@pytest.mark.slow
@pytest.mark.parametrize("names", [["in"], ["--", "in/f03.csv", "in/f00.csv"]])
def test_a_command_is_offered_only_where_it_names_the_same_inputs(
    scored: Path, scorer: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """An output with a whole path is found from each folder, but INPUTs may not be."""
    shutil.copytree(scored / "in", tmp_path / "in")
    out = tmp_path / "whole"
    command = ["score", *COMMAND[4:], "-o", str(out), "--limit", "1", "--dedup"]
    assert scorer(*command, *names, cwd=tmp_path).exit_code == 0
    offered = {}
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        offered[folder] = step_after_check(verify_output(out))
    assert offered[tmp_path.parent] == ""
    resumed = offered[tmp_path].rpartition(" run: batchscore ")[2]
    assert scorer(*shlex.split(resumed), cwd=tmp_path).exit_code == 0
    assert verify_output(out).exit_code is ExitCode.DONE


def test_a_run_over_other_files_does_not_hide_what_an_earlier_run_left(scorer: Cli, tmp_path: Path) -> None:
    """The rest counts until a run with the same INPUTs has ended, also if a file is not there any more."""
    files = [f"in/{name}.csv" for name in "abcd"]
    for name in [*files, "other/z.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"id,text\n1,{name}\n")
    base = [*COMMAND, "--base-dir", "."]

    def missing_after(*inputs: str, more: tuple[str, ...] = ()) -> list[str]:
        words = [*(base[:1]), *inputs, *base[2:], *more]
        assert scorer(*words, cwd=tmp_path).exit_code == 0
        return [line.partition(": ")[0] for line in verify_output(tmp_path / "out").missing]

    assert missing_after("in", more=("--limit", "1")) == files[1:]
    assert missing_after("other") == files[1:]
    assert missing_after(files[1], files[2]) == files[3:]
    (tmp_path / files[3]).unlink()
    assert missing_after("in") == []


@pytest.mark.slow
def test_a_file_that_is_gone_stays_incomplete_until_its_records_are_removed(
    scorer: Cli, tmp_path: Path
) -> None:
    for name in "aef":
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.csv").write_text("id,text\n1,one\n2,two\n")
    assert scorer(*COMMAND, "--limit", "3", cwd=tmp_path).exit_code == 0
    (tmp_path / "in" / "e.csv").unlink()
    assert scorer(*COMMAND, "--limit", "1", cwd=tmp_path).exit_code == 0
    partial = scorer("verify", "out", cwd=tmp_path)
    assert partial.exit_code == 1
    assert "incomplete. To score all rows, run: " in partial.stdout, "nothing is to be fixed"
    assert scorer(*COMMAND, cwd=tmp_path).exit_code == 0
    result = verify_output(tmp_path / "out")
    assert result.exit_code is ExitCode.ACTION_NEEDED, "the same command changes nothing"
    assert "and the last run did not find it: restore the file, or remove its" in result.to_text()
    offered = scorer("verify", "out", cwd=tmp_path).stdout.rpartition(" run: batchscore ")[2]
    assert scorer(*shlex.split(offered), cwd=tmp_path).exit_code == 0
    assert verify_output(tmp_path / "out").exit_code is ExitCode.DONE


@pytest.mark.slow
def test_damaged_run_records_are_named_and_removed_only_if_nothing_is_lost(
    scorer: Cli, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,text\n1,one\n")
    assert scorer(*COMMAND, cwd=tmp_path).exit_code == 0
    (record,) = (tmp_path / "out" / "runs").iterdir()
    for spoil in (b"", b"[]", b'{"settings": {"task": "embeddings"}, "files": [{"file": 1}]}', b"{"):
        record.write_bytes(spoil)
        for repair in (False, True):
            result = verify_output(tmp_path / "out", repair=repair)
            assert result.exit_code == ExitCode.ACTION_NEEDED
            (problem,) = result.problems
            assert problem.place == str(record)
            assert "the files that its run was to read are not known" in problem.what
    assert scorer(*COMMAND, cwd=tmp_path).exit_code == 0
    result = verify_output(tmp_path / "out", repair=True)
    assert result.removed == [str(record)]
    assert verify_output(tmp_path / "out").exit_code == ExitCode.DONE


def change_record(file: dict[str, Any] | None = None, **fields: Any) -> Callable[[dict[str, Any]], object]:
    """Set fields of a run's record, and of its first `file`, or remove those that are ...."""

    def change(record: dict[str, Any]) -> None:
        for target, new in ((record["files"][0], file or {}), (record, fields)):
            target.update({name: value for name, value in new.items() if value is not ...})
            for name in [name for name, value in new.items() if value is ...]:
                del target[name]

    return change


#: Values that no run writes.
ODD_RECORDS = [
    *(change_record(file={"state": value}) for value in (7, None, "done", ["complete"])),
    *(change_record(file={"rows": value}) for value in (..., None, "7", -1, 1e30, True)),
    change_record(file={"ok": ...}),
    *(change_record(file={name: 7}) for name in ("file", "problem", "input", "inputs", "records_digest")),
    change_record(file={"rows": 1}),
    change_record(base=7),
    change_record(file={"file": ""}),
    *(change_record(files=value) for value in (..., None, {}, [1])),
    change_record(earlier=[{"file": "x.csv"}]),
    *(change_record(complete_files=[value]) for value in (7, {}, {"file": "x.csv"}, {"file": 7, "rows": 1})),
    *(change_record(settings=value) for value in (None, [], {}, {"task": ["chat"]})),
    *(change_record(**{name: 7}) for name in ("fingerprint", "inputs", "file_written")),
    *(change_record(exit_code=value) for value in ("0", 1e30, float("nan"))),
]  # fmt: skip


@whatever_the_form
def test_a_run_record_with_values_that_no_run_writes_is_damaged(out: Path) -> None:
    """Each reader says so, and none fails."""
    (path,) = (out / "runs").iterdir()
    text = path.read_text()
    for change in ODD_RECORDS:
        record = json.loads(text)
        change(record)
        path.write_text(json.dumps(record))
        (problem,) = verdict_of(out).problems
        assert problem.place == str(path)
        assert "is damaged, so the files that its run was to read are not known" in problem.what
    with pytest.raises(OutputIncomplete, match="is damaged"):
        read_scores(out, strict=True)
    assert len(read_scores(out)) == 6 * len(FILES)


@whatever_the_form
def test_a_file_of_an_earlier_state_is_found_by_each_reader(out: Path) -> None:
    """The record of the last run that read the file tells, also behind runs that read other files."""
    (path,) = (out / "runs").iterdir()
    written = json.loads(path.read_bytes())
    del written["complete_files"]
    (f03,) = (each for each in written["files"] if each["file"] == "f03.csv")
    others = [each for each in written["files"] if each["file"] != "f03.csv"]
    of_others, of_input = {"records_digest": "of other records"}, {"input": "of another file"}
    for changed, shared in ((of_others, False), (of_input, True)):
        settings = written["settings"] | {"shared_output": shared}
        path.write_text(json.dumps(written | {"settings": settings, "files": [*others, f03 | changed]}))
        later = path.with_name(f"9{path.name}")
        for files, more in (
            ([f03 | changed], {}),
            (others, {}),
            (others, {"complete_files": [f03 | changed]}),
        ):
            later.write_text(json.dumps(written | {"settings": settings, "files": files} | more))
            (problem,) = verdict_of(out).problems
            assert problem.file == "f03.csv"
            assert "is not the one that runs/" in problem.what
            with pytest.raises(OutputIncomplete, match=r"f03\.csv: its manifest is not the one that"):
                read_scores(out, strict=True)
            with pytest.raises((InputError, OutputIncomplete), match="is not the one that"):
                merge_output(out, out.parent / "all.jsonl")
            with pytest.raises(InputError, match="is not the one that"):
                read_scores(out)
        later.unlink()
    digests = {"input", "records_digest"}
    old = [{name: each[name] for name in each if name not in digests} for each in written["files"]]
    path.write_text(json.dumps(written | {"files": old}))
    assert verdict_of(out).exit_code == ExitCode.DONE


@pytest.mark.slow
def test_an_older_version_of_a_file_is_found_after_runs_that_stop_before_it(
    scorer: Cli, scored: Path, tmp_path: Path
) -> None:
    """Each record keeps the counts of all complete files, and the next whole run scores the rest."""
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    out = tmp_path / "out"
    command = [*COMMAND, "--format", "parquet" if [*out.glob("embeddings/*.parquet")] else "jsonl"]
    drop_last(Output(out, "f03.csv"))

    def found() -> list[str]:
        return [problem.what for problem in verdict_of(out).problems if problem.file == "f03.csv"]

    assert "states 6 rows, 5 scores and 1 errors; runs/" in found()[0]
    for _ in range(2):
        assert scorer(*command, "--limit", "1", cwd=tmp_path).exit_code == 0
        assert "states 6 rows, 5 scores and 1 errors; runs/" in found()[0]
        last = max((out / "runs").iterdir(), key=lambda path: path.stem)
        record = json.loads(last.read_bytes())
        # As of a run that is killed before it ends.
        last.write_text(json.dumps(record | {"exit_code": None}))
        assert "states 6 rows, 5 scores and 1 errors; runs/" in found()[0]
    assert scorer(*command, cwd=tmp_path).exit_code == 0
    assert verdict_of(out).problems == []
    assert verdict_of(out).total("ok") == 6 * len(FILES)


@whatever_the_form
def test_a_killed_run_that_scored_failed_rows_again_leaves_no_contradiction(out: Path) -> None:
    """Its record says what it found before; the manifest has more scores since, or is of a new version."""
    (path,) = (out / "runs").iterdir()
    written = json.loads(path.read_bytes())
    (f03,) = (each for each in written["files"] if each["file"] == "f03.csv")
    fewer, other = f03 | {"ok": f03["ok"] - 1, "errors": 2}, f03 | {"input": "of another version", "rows": 9}
    set_out = {name: f03[name] for name in ("file", "input")} | {"state": "not_started"}
    killed = written | {"exit_code": None, "files": [set_out]}
    for before in (fewer, other):
        path.write_text(json.dumps(killed | {"complete_files": [before]}))
        assert verdict_of(out).exit_code == ExitCode.DONE
    path.write_text(json.dumps(killed | {"complete_files": [f03 | {"rows": 9}]}))
    assert verdict_of(out).exit_code == ExitCode.ACTION_NEEDED


@whatever_the_form
def test_no_record_is_read_after_one_that_says_all(out: Path) -> None:
    (path,) = (out / "runs").iterdir()
    path.with_name("1.json").write_text("x")
    assert recorded_files(out, "embeddings").damaged == {}
    assert recorded_files(out, "embeddings", all_records=True).damaged == {path.with_name("1.json"): ""}
    written = json.loads(path.read_bytes())
    written["settings"]["shared_output"] = True
    del written["complete_files"]
    path.write_text(json.dumps(written))
    assert recorded_files(out, "embeddings", counts_of=FILES[:2]).damaged == {}
    assert recorded_files(out, "embeddings").damaged != {}


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--incremental", "--shared-output"])
def test_each_kind_of_run_completes_what_a_killed_run_was_discarding(
    scorer: Cli, scored: Path, tmp_path: Path, flag: str
) -> None:
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    out = tmp_path / "out"
    form = "parquet" if [*out.glob("embeddings/*.parquet")] else "jsonl"
    (out / ".batchscore" / "discard-embeddings").touch()
    assert verdict_of(out).exit_code == ExitCode.CONTINUE_LATER
    assert scorer(*COMMAND, "--format", form, flag, cwd=tmp_path).exit_code == 0
    assert verdict_of(out).exit_code == ExitCode.DONE


@whatever_the_form
def test_a_stale_part_beside_a_partial_file_is_named(out: Path) -> None:
    """Only a killed run leaves parts that no manifest names."""
    one = Output(out, "f03.csv")
    one.rewrite(lambda manifest: manifest.update(state="partial"))
    assert verdict_of(out).exit_code == ExitCode.CONTINUE_LATER
    stale = Path(str(one.part(0)).replace("-00000.", "-00009."))
    shutil.copy(one.part(0), stale)
    (problem,) = verdict_of(out).problems
    assert (problem.place, problem.what) == (str(stale), "is left over: no manifest names it")
    journals = out / ".batchscore" / "journal-embeddings"
    journals.mkdir(exist_ok=True)
    name = stale.stem.removeprefix("part-")
    (journals / f"{name[:-1]}8.journal").write_bytes(b"")
    assert len(verdict_of(out).problems) == 1
    (journals / f"{name}.journal").write_bytes(b"")
    assert verdict_of(out).problems == []
    shutil.rmtree(journals)
    (path,) = (out / "runs").iterdir()
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"exit_code": None}))
    assert verdict_of(out).problems == []


@whatever_the_form
def test_rows_that_a_complete_file_of_several_workers_has_lost_are_found(out: Path) -> None:
    """Workers that have not completed the file say nothing of it."""
    (path,) = (out / "runs").iterdir()
    record = json.loads(path.read_bytes())
    record["settings"] |= {"shared_output": True}
    path.write_text(json.dumps(record))
    started = {"exit_code": None, "files": [{"file": "f03.csv", "state": "not_started"}]}
    path.with_name(f"9{path.name}").write_text(json.dumps(record | started))
    assert verdict_of(out).exit_code == ExitCode.DONE
    drop_last(Output(out, "f03.csv"))
    problem = verdict_of(out).problems[0]
    assert f"states 6 rows, 5 scores and 1 errors; runs/{path.name} says 7" in problem.what


def test_a_file_that_a_killed_run_was_replacing_is_incomplete(out: Path) -> None:
    """The next run finishes what was decided, and so does a repair."""
    one, before = Output(out, "f03.csv"), tree(out)
    decision = out / f".batchscore/next-embeddings/changes/run/{one.manifest.stem}.switch.jsonl"
    for marker in (decision, out / ".batchscore/discard-embeddings"):
        kept = one.part(0).read_bytes(), one.part(2).read_bytes()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("")
        assert merge_output(out, out.parent / "all.jsonl", overwrite=True).missing
        with pytest.raises(OutputIncomplete, match="a killed run was replacing its scores"):
            read_scores(out, strict=True)
        one.part(0).write_bytes(kept[1])
        one.part(2).unlink()
        verdict = verdict_of(out)
        assert verdict.exit_code == ExitCode.CONTINUE_LATER
        assert "f03.csv: a killed run was replacing its scores" in verdict.missing
        for found in readings(out, out.parent):
            assert isinstance(found, OutputIncomplete)
            assert "f03.csv: a killed run was replacing its scores. Run the same score command" in str(found)
        one.part(0).write_bytes(kept[0])
        (one.part(0).parent / one.part(0).name.replace("-00000.", "-00002.")).write_bytes(kept[1])
        assert verdict_of(out, repair=True).exit_code == ExitCode.DONE
        shutil.rmtree(out / "changes", ignore_errors=True)
        assert tree(out) == before


def test_parts_that_a_killed_run_was_writing_are_not_damage(out: Path) -> None:
    """Their manifest is written last; until then a journal holds their rows."""
    one = Output(out, "f03.csv")
    cut(one.part(0))
    name = one.part(2).stem.removeprefix("part-")
    one.rewrite(lambda manifest: manifest.update(state="partial", rows=6, ok=5, parts=manifest["parts"][:2]))
    one.rewrite(
        lambda manifest: manifest.update(
            {name: sum(part[name] for part in manifest["parts"])
             for name in ("attempts", "tokens_billed", "tokens_kept")}
        )
    )  # fmt: skip
    assert verdict_of(out).exit_code == ExitCode.ACTION_NEEDED
    journal = out / ".batchscore" / "journal-embeddings" / f"{name[:-1]}0.journal"
    journal.parent.mkdir()
    journal.write_bytes(b"")
    journal.with_name(f"{name}.journal").write_bytes(b"")
    verdict = verdict_of(out)
    assert (verdict.exit_code, verdict.problems) == (ExitCode.CONTINUE_LATER, [])
    assert verdict.missing == ["f03.csv: not read completely"]


@whatever_the_form
@pytest.mark.parametrize("content", ["x", "[]", "{}", '{"fingerprint": {}, "files": [[]]}'])
def test_a_damaged_list_of_replaced_files_is_named(out: Path, content: str) -> None:
    path = out / ".batchscore" / "next-embeddings" / "replaced.json"
    path.parent.mkdir()
    path.write_text(content)
    (problem,) = verdict_of(out).problems
    assert problem.place == str(path)
    assert "the files that an overwriting run has not replaced yet are not known" in problem.what
    with pytest.raises(OutputIncomplete, match=re.escape(f"{path.name}: is damaged")):
        read_scores(out, strict=True)


@whatever_the_form
def test_what_is_no_file_in_place_of_a_run_record_is_damage(out: Path) -> None:
    (path,) = (out / "runs").iterdir()
    record = path.read_bytes()
    for put in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path.unlink()
        put(path)
        (problem,) = verdict_of(out).problems
        assert problem.place == str(path)
        # A later record says all.
        later = path.with_name(f"9{path.name}")
        later.write_bytes(record)
        (problem,) = verdict_of(out).problems
        assert problem.place == str(path)
        repaired = verdict_of(out, repair=True)
        if path.is_dir():
            assert (repaired.exit_code, repaired.removed) == (ExitCode.ACTION_NEEDED, [])
            assert problem.what == "is a folder; move it to another folder"
            path.rmdir()
        else:
            assert repaired.removed == [str(path)]
        assert verdict_of(out).exit_code == ExitCode.DONE
        later.rename(path)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--incremental",), ("--shared-output",)])
def test_the_same_command_scores_the_rows_that_a_complete_manifest_has_lost(
    scored: Path, out: Path, tmp_path: Path, scorer: Cli, more: tuple[str, ...]
) -> None:
    """Only the record of the last run tells, and the new run's record takes its place."""
    shutil.copytree(scored / "in", tmp_path / "in")
    command = [*COMMAND, "--format", scored.name.rstrip("0123456789"), *more]
    if more == ("--incremental",):
        assert scorer(*command, cwd=tmp_path).exit_code == 0
    drop_last(Output(out, "f03.csv"))
    run = scorer(*command, cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    last = max((out / "runs").iterdir(), key=lambda path: path.stem)
    assert json.loads(last.read_bytes())["this_run"]["ok"] == 1
    assert verdict_of(out).exit_code == ExitCode.DONE
    assert len(read_scores(out, strict=True)) == 6 * len(FILES)


def test_a_run_that_was_killed_before_its_first_manifest_is_incomplete(out: Path) -> None:
    """It has made the folders of its parts already."""
    (path,) = (out / "runs").iterdir()
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"exit_code": None}))
    for folder in ("manifest", "embeddings", "errors/embeddings"):
        shutil.rmtree(out / folder)
    (out / "embeddings").mkdir()
    assert verdict_of(out).exit_code == ExitCode.CONTINUE_LATER
    with pytest.raises(OutputIncomplete):
        merge_output(out, out.parent / "m.jsonl")


def test_a_file_of_which_only_the_next_version_has_a_manifest_was_started(out: Path) -> None:
    """A killed run with `--incremental` leaves it; other new files were not started."""
    (path,) = (out / "runs").iterdir()
    record = json.loads(path.read_bytes()) | {"exit_code": None}
    record["files"] = [{**each, "state": "not_started"} for each in record["files"]]
    path.write_text(json.dumps(record))
    hidden = out / ".batchscore" / "next-embeddings" / "manifest" / "embeddings"
    hidden.mkdir(parents=True)
    first, second = (Output(out, file) for file in FILES[:2])
    first.manifest.rename(hidden / first.manifest.name)
    second.manifest.unlink()
    for path in (path for each in (first, second) for path in out.rglob(f"part-{each.stem}-*")):
        path.unlink()
    expected = [f"{FILES[0]}: started, but not complete", f"{FILES[1]}: not started"]
    assert verdict_of(out).missing == expected
    assert merge_output(out, out.parent / "m.jsonl").missing == tuple(expected)
    page = gather(out, str(out), None, WITHOUT_SAMPLE)
    assert {each.file: each.state for each in page.tasks[0].files if each.state != "complete"} == {
        FILES[0]: "partial",
        FILES[1]: "not_started",
    }


@pytest.mark.parametrize("named", ["all.jsonl", "all.jsonl.batchscore"])
def test_an_output_of_one_file_without_a_record_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "all.jsonl.batchscore" / ".batchscore").mkdir(parents=True)
    with pytest.raises(InputError, match="is not an output of batchscore"):
        verify_output(tmp_path / named)


@whatever_the_form
def test_a_killed_run_that_was_to_remove_the_scores_of_a_file_is_incomplete(out: Path) -> None:
    (path,) = (out / "runs").iterdir()
    record = json.loads(path.read_bytes())
    settings = record["settings"] | {"incremental": True, "prune": True}
    files = [each for each in record["files"] if each["file"] != "f03.csv"]
    for exit_code, missing in ((None, ["f03.csv: its scores were to be removed"]), (0, [])):
        path.write_text(json.dumps(record | {"settings": settings, "files": files, "exit_code": exit_code}))
        assert verdict_of(out).missing == missing


@pytest.mark.slow
def test_one_file_that_was_not_written_is_missing(scorer: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,text\n1,one\n")
    command = [*COMMAND[:3], "all.jsonl", *COMMAND[4:]]
    assert scorer(*command, cwd=tmp_path).exit_code == 0
    file = tmp_path / "all.jsonl"
    assert verify_output(file).exit_code == ExitCode.DONE
    file.unlink()
    assert verify_output(file).missing == [f"{file}: not written from the parts yet"]
    assert scorer(*command, cwd=tmp_path).exit_code == 0
    assert verify_output(file).exit_code == ExitCode.DONE


@whatever_the_form
def test_foreign_files_are_reported_and_kept(out: Path) -> None:
    (out / "embeddings" / "notes.txt").write_text("mine")
    (out / "errors" / "embeddings" / "folder").mkdir()
    for repair in (False, True):
        result = verdict_of(out, repair=repair)
        assert result.exit_code == ExitCode.ACTION_NEEDED
        assert sorted(Path(problem.place).name for problem in result.problems) == ["folder", "notes.txt"]
    assert (out / "embeddings" / "notes.txt").read_text() == "mine"


@whatever_the_form
def test_no_repair_is_offered_for_a_folder_in_the_place_of_a_part(out: Path) -> None:
    one = Output(out, "f03.csv")
    one.part(0).unlink()
    part = one.part(1)
    part.unlink()
    part.mkdir()
    assert "--repair" in verdict_of(out).to_text(), "the other part can be repaired"
    assert verdict_of(out, repair=True).exit_code == ExitCode.ACTION_NEEDED
    for repair in (False, True):
        text = verdict_of(out, repair=repair).to_text()
        assert "Damaged, and no repair changes that: " in text
        assert "--repair" not in text
        assert "Move foreign files and folders away" in text
    part.rmdir()
    assert verdict_of(out).exit_code == ExitCode.CONTINUE_LATER


def test_files_of_two_runs_with_other_settings_are_left_to_the_user(out: Path) -> None:
    one = Output(out, "f03.csv")
    one.rewrite(lambda manifest: manifest["fingerprint"].update(model="other"))
    before = tree(out)
    result = verdict_of(out, repair=True)
    assert result.exit_code == ExitCode.ACTION_NEEDED
    (problem,) = result.problems
    assert problem.place == str(one.manifest)
    assert "was written with other settings than" in problem.what
    assert tree(out) == before


def test_only_the_copy_of_a_manifest_under_another_name_is_removed(out: Path) -> None:
    one = Output(out, "f03.csv")
    before = tree(out)
    shutil.copy(one.manifest, one.manifest.with_name("copy.json"))
    result = verdict_of(out, repair=True)
    assert "should have another name" in result.problems[0].what
    assert tree(out) == before


def test_a_file_that_cannot_be_read_is_not_damage(out: Path) -> None:
    """Nothing is removed for a transient fault, or if another version wrote it."""
    one = Output(out, "f03.csv")
    one.rewrite(lambda manifest: manifest.update(version=2))
    before = tree(out)
    with pytest.raises(OutputError, match="another version"):
        verdict_of(out, repair=True)
    assert tree(out) == before
    one.manifest.unlink()
    os.symlink("loop", one.manifest.with_name("loop"))  # noqa: PTH211
    os.symlink("loop", one.manifest)  # noqa: PTH211
    with pytest.raises(OutputError, match="it is a link, and nothing"):
        verdict_of(out, repair=True)


@pytest.mark.parametrize("repair", [False, True])
def test_a_running_run_is_not_disturbed(out: Path, repair: bool) -> None:  # noqa: FBT001
    with (
        hold_lock(out / ".batchscore", "embeddings", what="out", command="batchscore score", notice=print),
        pytest.raises(OutputLocked, match="`batchscore score`"),
    ):
        verdict_of(out, repair=repair)


def test_a_run_at_work_completes_the_output_and_no_command_is_offered(out: Path) -> None:
    """A run that did not end has released its lock, or it works, or there is no lock to know it by."""
    (path,) = (out / "runs").iterdir()
    ended = json.loads(path.read_bytes())
    ended["files"].append(ended["files"][0] | {"file": "later.csv", "state": "not_started"})
    path.write_text(json.dumps(ended | {"exit_code": None}))

    def found() -> tuple[TaskVerdict, str, str]:
        (task,) = gather(out, str(out), None, WITHOUT_SAMPLE).tasks
        missing = merge_output(out, out.parent / "m.jsonl", overwrite=True).missing
        step = step_to_complete(out, "embeddings", damaged=True)
        return verdict(task, str(out)), str(tables.runs_table(task)), f"{step} {missing}"

    said, table, _ = found()
    assert said.reason == "The last run did not end: it was killed, or is still working."
    assert "did not end: killed, or still working" in table
    with hold_lock(out / ".batchscore", "embeddings", what="out", command="batchscore score", notice=print):
        for record in (ended, ended | {"exit_code": None}):
            path.write_text(json.dumps(record))
            said, table, step = found()
            assert (said.title[:13], said.next_step) == ("In progress: ", None)
            assert said.reason.startswith("A run is still working on this output.")
            assert f"is held by `batchscore score`, process {os.getpid()}" in step
            assert "a run is still working on this output" in step
    assert "still working" in table
    (out / ".batchscore" / "embeddings.lock").touch()
    said, table, step = found()
    assert said.reason == "The last run did not end: it was killed."
    assert said.next_step is not None
    assert ("did not end: killed" in table, "still working" in f"{table}{step}") == (True, False)


def test_an_output_without_manifests_cannot_be_verified(out: Path, tmp_path: Path) -> None:
    shutil.rmtree(out / "manifest")
    with pytest.raises(InputError, match="has no manifests of embeddings"):
        verdict_of(out)
    with pytest.raises(InputError, match="there is no such output folder"):
        verdict_of(tmp_path / "nowhere")
    part = next((out / "embeddings").iterdir())
    with pytest.raises(InputError, match=r"this is a file\. Name the output folder of its run"):
        verdict_of(part)


@pytest.fixture(scope="module")
def manifest_of_a_run(scored: Path) -> tuple[Path, bytes]:
    path = Output(scored / "out", "f00.csv").manifest
    return path, path.read_bytes()


@settings(max_examples=examples(30))
@given(place=st.integers(0, 10**6), new=st.integers(0, 255))
def test_a_manifest_with_any_changed_byte_never_crashes(
    manifest_of_a_run: tuple[Path, bytes], tmp_path_factory: pytest.TempPathFactory, place: int, new: int
) -> None:
    """It is found, or the change does not affect the records; there is never a traceback."""
    path, data = manifest_of_a_run
    changed = bytearray(data)
    changed[place % len(data)] = new
    out = tmp_path_factory.mktemp("out")
    (out / "manifest" / "embeddings").mkdir(parents=True)
    for kind in ("embeddings", "errors/embeddings"):
        (out / kind).mkdir(parents=True)
        for part in (path.parents[2] / kind).glob("part-f00-*"):
            shutil.copy(part, out / kind)
    (out / "manifest" / "embeddings" / path.name).write_bytes(changed)
    try:
        result = verify_output(out, repair=True)
        assert verify_output(out).problems == result.unrepaired
    except BatchscoreError:
        pass
    shutil.rmtree(out)


@settings(max_examples=examples(30))
@given(place=st.integers(0, 10**6), what=st.binary(max_size=5), taken=st.integers(0, 5))
def test_a_part_with_any_changed_bytes_is_found(
    scored: Path, tmp_path_factory: pytest.TempPathFactory, place: int, what: bytes, taken: int
) -> None:
    one = Output(scored / "out", "f00.csv")
    out = tmp_path_factory.mktemp("out")
    (out / "manifest" / "embeddings").mkdir(parents=True)
    shutil.copy(one.manifest, out / "manifest" / "embeddings")
    for kind in ("embeddings", "errors/embeddings"):
        (out / kind).mkdir(parents=True)
        for part in (scored / "out" / kind).glob("part-f00-*"):
            shutil.copy(part, out / kind)
    path = Output(out, "f00.csv").part(0)
    data = path.read_bytes()
    place %= len(data)
    changed = data[:place] + what + data[place + taken :]
    path.write_bytes(changed)
    result = verify_output(out)
    assert result.lost == (0 if changed == data else 3)
    shutil.rmtree(out)


def test_the_json_of_a_check_names_settings_as_its_door_does() -> None:
    marked = f"set {setting_name('base_dir')}"
    found = Verification(
        "out", "chat", repaired=False, problems=[OutputProblem("a", marked)], missing=[marked]
    )
    fields = found.to_json(as_flag)
    assert (fields["problems"][0]["what"], fields["missing"]) == ("set --base-dir", ["set --base-dir"])
