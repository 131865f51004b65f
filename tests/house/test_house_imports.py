"""Imports run one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchscore.simulator import Running
from import_table import MAY_IMPORT, NOUNS, TOP
from source_trees import SOURCE, nodes_of, trees


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give each module's name below `batchscore`, and its syntax tree."""
    for path, tree in trees().items():
        yield path.removesuffix(".py").removesuffix("/__init__").replace("/", "."), tree


def imported(tree: ast.Module) -> Iterator[str]:
    """Give the modules of ours that a module imports, wherever in it, below `batchscore`."""
    for node in nodes_of(tree, ast.ImportFrom):
        assert node.level == 0, "relative imports hide what is imported"
        package, _, module = (node.module or "").partition(".")
        if package == "batchscore":
            yield from [module] if module else [alias.name for alias in node.names]
    for node in nodes_of(tree, ast.Import):
        names = [alias.name.partition(".") for alias in node.names]
        yield from (module or "__init__" for package, _, module in names if package == "batchscore")


def test_only_nouns_and_rooms_are_at_the_top() -> None:
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__pycache__"} == {*MAY_IMPORT, *TOP}


def test_every_room_opens_with_its_question() -> None:
    for module, tree in trees().items():
        assert not module.endswith("__init__.py") or ast.get_docstring(tree), module


def test_imports_run_one_way() -> None:
    for module, tree in modules():
        room = module.partition(".")[0]
        allowed = MAY_IMPORT[room] | {room} if room in MAY_IMPORT else TOP[room]
        nouns = set() if room in {"simulator", "errors", "task", "version"} else NOUNS
        for other in imported(tree):
            assert other.partition(".")[0] in allowed | nouns, f"{module} may not import {other}"


def test_no_two_rooms_import_each_other() -> None:
    for room, allowed in MAY_IMPORT.items():
        assert all(room not in MAY_IMPORT[other] for other in allowed), room


def test_no_module_imports_itself_in_a_circle() -> None:
    """Counting only what is imported when a module is loaded, not inside functions or for types."""
    graph: dict[str, set[str]] = {}
    for module, tree in modules():
        top = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
        graph[module] = set(imported(top))
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path, module))
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.process
@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import batchscore", "mlflow pandas openai pyarrow aiohttp click rich azure ijson tenacity yaml"),
        # Until it has loaded, Ctrl-C shows a traceback.
        ("import batchscore.__main__", "typing json dataclasses batchscore.errors"),
        ("import batchscore.cli.main", "numpy asyncio batchscore.settings.fields batchscore.rows"),
        (
            "from batchscore.cli.main import cli; cli.get_help(cli.context_class(cli))",
            "numpy asyncio concurrent.futures batchscore.rows mlflow openai pyarrow aiohttp rich azure yaml",
        ),
        ("import batchscore.simulator", "mlflow pandas openai pyarrow aiohttp rich azure"),
        pytest.param(
            "import batchscore.azureml.driver",
            "mlflow pandas openai azure duckdb openpyxl xlsxwriter yaml",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import batchscore.run.score_files",
            "mlflow pandas openai azure duckdb openpyxl xlsxwriter yaml jsonschema_rs",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str, absent: str) -> None:
    """In a fresh interpreter, so that no other test's imports count."""
    code = f"import sys; {statement}; print(*(name for name in {absent.split()!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


#: What a run without a terminal that writes JSON Lines has no use for.
NOT_IN_A_PLAIN_RUN = (
    "aiohttp azure httpx importlib.metadata mlflow numpy.ma openai openpyxl pandas pyarrow pydantic rich yaml"
)
PLAIN_RUN = """
import atexit, sys
from batchscore.__main__ import main
atexit.register(lambda: print(*(name for name in {absent!r}.split() if name in sys.modules), file=sys.stderr))
main()
"""


def test_a_plain_run_loads_no_more_than_it_needs(simulator: Running, tmp_path: Path) -> None:
    """And a finished output, looked at again, neither engine nor HTTP library."""
    (tmp_path / "one.jsonl").write_text('{"text": "x"}')
    flags = ["--task", "embeddings", "--model", "ada", "--quiet", "--endpoint", simulator.endpoint]
    environ = {**os.environ, "BATCHSCORE_API_KEY": simulator.key}
    for absent in (NOT_IN_A_PLAIN_RUN, f"{NOT_IN_A_PLAIN_RUN} httptools batchscore.engine.engine"):
        code = PLAIN_RUN.format(absent=absent)
        words = [sys.executable, "-c", code, "score", "one.jsonl", "-o", "out/", *flags]
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.slow
def test_a_run_to_parquet_does_not_load_pandas(simulator: Running, tmp_path: Path) -> None:
    """It took a tenth of a run of 20,000 vectors; the page reads some vectors, too.

    Nor does Arrow use its own allocator, which keeps 15 MiB more.
    """
    (tmp_path / "one.jsonl").write_text('{"text": "x"}')
    flags = ["--task", "embeddings", "--model", "ada", "--quiet", "--endpoint", simulator.endpoint]
    environ = {**os.environ, "BATCHSCORE_API_KEY": simulator.key}
    allocator = "sys.modules['pyarrow'].default_memory_pool().backend_name"
    code = f"import atexit, sys; atexit.register(lambda: print({allocator}))\n"
    code += PLAIN_RUN.format(absent=NOT_IN_A_PLAIN_RUN.replace("pyarrow", "pyarrow.compute"))
    words = [sys.executable, "-c", code, "score", "one.jsonl", "-o", "out/", "--format", "parquet", *flags]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.split()[-1] == "system"
    assert list((tmp_path / "out/embeddings").glob("*.parquet"))
