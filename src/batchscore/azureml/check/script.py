"""Will the batch host find in the scoring script what it calls?

The script is read, never run: on this machine it may lack what it imports.
"""

from __future__ import annotations

import ast
from pathlib import Path


def script_problem(script: Path) -> tuple[int, str] | None:
    """Return the line and what is wrong with a scoring script; `None` where the host can call it."""
    try:
        tree = ast.parse(script.read_bytes(), str(script))
    except OSError as error:
        return 0, f"cannot be read: {error.strerror}."
    except (SyntaxError, ValueError) as error:
        return getattr(error, "lineno", 0) or 0, "is not Python."
    defined = _defined(tree)
    missing = [f"{name}()" for name in ("init", "run") if name not in defined]
    if missing:
        return 0, f"does not define {' and '.join(missing)}, which the batch host calls."
    run = defined["run"]
    if isinstance(run, ast.FunctionDef | ast.AsyncFunctionDef):
        if isinstance(run, ast.AsyncFunctionDef):
            return run.lineno, "run() is a coroutine; the batch host does not await it."
        needed = len(run.args.args) + len(run.args.posonlyargs) - len(run.args.defaults)
        room = len(run.args.args) + len(run.args.posonlyargs)
        if needed > 2 or (room < 1 and run.args.vararg is None):
            return run.lineno, "run() must take the mini-batch, and at most its context besides."
    return None


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the names that a module defines at its top: functions, imports and assignments."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update({alias.asname or alias.name: node for alias in node.names})
        elif isinstance(node, ast.Assign):
            found.update({name.id: node for name in node.targets if isinstance(name, ast.Name)})
    return found
