"""Does the scoring script define what the batch host calls?

The script is parsed, never run: this machine may lack the packages that it imports.
"""

from __future__ import annotations

import ast
from pathlib import Path


def script_problem(script: Path) -> tuple[int, str] | None:
    """Return the line and the mistake in a scoring script; `None` if the host can call it."""
    try:
        tree = ast.parse(script.read_bytes(), str(script))
    except OSError as error:
        return 0, f"cannot be read: {error.strerror}."
    except (SyntaxError, ValueError) as error:
        return getattr(error, "lineno", 0) or 0, "is not Python."
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined.update({alias.asname or alias.name: node for alias in node.names})
        elif isinstance(node, ast.Assign):
            defined.update({name.id: node for name in node.targets if isinstance(name, ast.Name)})
    missing = [f"{name}()" for name in ("init", "run") if name not in defined]
    if missing:
        return 0, f"does not define {' and '.join(missing)}, which the batch host calls."
    run = defined["run"]
    if isinstance(run, ast.AsyncFunctionDef):
        return run.lineno, "run() is a coroutine; the batch host does not await it."
    if isinstance(run, ast.FunctionDef):
        room = len(run.args.args) + len(run.args.posonlyargs)
        if room - len(run.args.defaults) > 2 or (room < 1 and run.args.vararg is None):
            return run.lineno, "run() must take the mini-batch, and at most its context as well."
    return None
