"""Imports run one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchscore

SOURCE = Path(batchscore.__file__).parent

#: The nouns that flow, the errors, how a task ends and where a user keeps things; everybody may use them.
NOUNS = {"rows", "errors", "version", "tasks", "temporary", "secret_names", "json_text"}

#: What may import what, besides the nouns and one's own folder: nouns ← stages (never one another) ←
#: engine (of pack and request) ← job, survey, run ← doors. A row serves every module that begins so.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "rows version tasks temporary versions secret_names json_text": set(),
    "declared deadline": set(),
    "prices": set(),
    "settings checks configuration": {"settings", "checks", "declared", "deadline", "prices"},
    "config_file": {"declared"},
    "stores": set(),
    "read write": {"stores"},
    "pack request report": set(),
    "simulator": set(),
    "engine": {"pack", "request"},
    "survey": {"settings", "stores", "read", "pack", "write.schema"},
    "scoring": {"settings", "engine", "pack", "request"},
    "bounds": {"settings", "deadline", "scoring"},
    "ended": set(),
    "process": set(),
    "first_answer": {"bounds", "process", "scoring", "settings"},
    "incremental": {"survey", "read", "stores", "write"},
    "job": {"ended", "engine", "settings", "survey", "scoring", "read", "pack", "write"},
    "endpoints": {"settings", "scoring", "request", "simulator"},
    "output": {"settings", "stores", "write"},
    "arguments": {"settings"},
    "iterables": {
        *("arguments", "settings", "configuration", "model.chosen", "endpoints", "scoring", "survey", "pack"),
    },
    "model.kept": set(),
    "model.saved model.chosen": {
        "settings",
        "configuration",
        "config_file",
        "declared",
        "pack",
        "prices",
        "model.kept",
    },
    "model": {"arguments", "settings", "configuration", "declared", "iterables", "pack", "survey"},
    "tracked": {"settings", "ended", "report", "stores", "write"},
    "account": {"incremental", "output", "settings", "stores", "survey", "write"},
    # What is expected is what the engine would do, so it takes the engine's own packing and limits.
    "plan": {
        "account",
        "bounds",
        "output",
        "pack",
        "read",
        "request",
        "settings",
        "simulator.words",
        "survey",
        "write",
    },
    "run": {
        "account",
        "ended",
        "first_answer",
        "process",
        "output",
        "bounds",
        "settings",
        "survey",
        "endpoints",
        "scoring",
        "incremental",
        "job",
        "plan.expected",
        "report.tally",
        "report.timeline",
        "versions",
        "tracked",
        "request",
        "write",
        "stores",
        "simulator",
    },
    "report.summary": {"run", "bounds"},
    "report.plan": {"plan", "bounds"},
    "report.plan_files": {"plan"},
    "report.line": {"bounds"},
    "scores": {"stores", "write"},
    "merging": {"scores", "stores", "read", "write"},
    "verifying": {"stores", "write"},
    "reporting": {"stores", "write", "report"},
    "reporting.at_end": {"run"},
    "azureml_files": {
        *("settings", "checks", "configuration", "config_file", "declared", "deadline", "azureml_host"),
    },
    "azureml_files.starting": {
        "azureml_host",
        "settings",
        "configuration",
        "declared",
        "endpoints",
        "survey",
    },
    "checking": {"azureml_files"},
    "azureml_host": {"settings", "declared", "configuration", "config_file", "model.chosen"},
    "azureml": {
        "azureml_host",
        "settings",
        "configuration",
        "deadline",
        "ended",
        "endpoints",
        "survey",
        "run",
        "read",
        "report",
        "tracked",
    },
    "options": {"settings", "declared", "simulator"},
    "commands.say": set(),
    "commands": {
        "settings",
        "declared",
        "configuration",
        "config_file",
        "model",
        "options",
        "plan",
        "run",
        "report",
        "reporting",
        "simulator",
        "merging",
        "verifying",
        "stores.address",
        "checking",
        "write.schema",
    },
    "cli": {"commands"},
    "__main__": {"cli"},
    "__init__": {"scores", "iterables", "model.save"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
        yield name.removesuffix(".__init__"), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Give the modules of ours that a module imports, wherever in it, below `batchscore`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            package, _, module = (node.module or "").partition(".")
            if package == "batchscore":
                yield from [module] if module else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.partition(".") for alias in node.names]
            yield from (module or "__init__" for package, _, module in names if package == "batchscore")


def below(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def row_of(module: str) -> set[str] | None:
    """Give what a module may import: the longest name in the table that it begins with."""
    rows = {name: allowed for names, allowed in MAY_IMPORT.items() for name in names.split()}
    fitting = [name for name in rows if below(module, {name})]
    return rows[max(fitting, key=len)] if fitting else None


def test_imports_run_one_way() -> None:
    for module, tree in modules():
        allowed = row_of(module)
        assert allowed is not None, f"{module} is not in the table MAY_IMPORT: where does it stand?"
        own = {module.split(".")[0]} if "." in module or (SOURCE / module).is_dir() else set()
        nouns = set() if module.startswith("simulator") or module == "errors" else NOUNS
        for other in imported(tree):
            assert below(other, allowed | own | nouns), f"{module} may not import {other}"


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


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import batchscore", "mlflow pandas openai pyarrow aiohttp click rich azure ijson tenacity yaml"),
        ("import batchscore.cli", "mlflow pandas openai pyarrow aiohttp rich azure ijson tenacity yaml"),
        ("import batchscore.simulator", "mlflow pandas openai pyarrow aiohttp rich azure"),
        ("import batchscore.azureml", "mlflow pandas openai azure duckdb yaml"),
        ("import batchscore.run", "mlflow pandas openai azure duckdb yaml"),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str, absent: str) -> None:
    """In a fresh interpreter, so that no other test's imports count."""
    code = f"import sys; {statement}; print(*(name for name in {absent.split()!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
