"""How the code is kept: short modules, a question at the top of each, nothing left for later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from source_trees import trees

ROOT = Path(__file__).resolve().parents[2]

#: Folders that hold what we wrote.
WRITTEN = ("src", "tests", "docs", "data", "benchmarks", "deployment", "environment", ".ci")

#: Modules are at most so long.
LONGEST = 400
#: Modules that may be longer, each with its reason.
LONGER: dict[str, str] = {}

#: Written apart, so that this file does not hold them.
LEFT_FOR_LATER = tuple(head + tail for head, tail in (("TO", "DO"), ("FIX", "ME"), ("X" * 2, "X")))


def texts() -> Iterator[tuple[Path, str]]:
    top = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    below = [path for folder in WRITTEN for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in top + below:
        if "__pycache__" not in path.parts and path.suffix in {".py", ".md", ".toml", ".yml", ".sh", ""}:
            yield path, path.read_text("utf-8")


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path, text in texts()
        for word in LEFT_FOR_LATER
        if word in text
    ]
    assert not found


def test_modules_are_short() -> None:
    source = ROOT / "src" / "batchscore"
    lengths = {
        path.relative_to(source).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in source.rglob("*.py")
    }
    long = {name for name, length in lengths.items() if length > LONGEST}
    assert long <= LONGER.keys(), {name: lengths[name] for name in long - LONGER.keys()}


def test_every_module_opens_with_what_it_answers() -> None:
    for module, tree in trees().items():
        if tree.body:
            opening = ast.get_docstring(tree)
            assert opening, f"{module} has no docstring"
            assert opening.splitlines()[0].endswith((".", "?", ":")), module
