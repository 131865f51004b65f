"""The syntax trees of our modules, for the tests of the house. Each worker parses them once."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import batchscore

SOURCE = Path(batchscore.__file__).parent

Node = TypeVar("Node", bound=ast.AST)


@cache
def trees() -> dict[str, ast.Module]:
    """Return the tree of each module by its path below `batchscore`, such as `read/lines.py`."""
    # A collection that parses other sources meanwhile makes CPython 3.11 fail with a SystemError.
    gc.disable()
    try:
        return {
            path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text("utf-8"))
            for path in sorted(SOURCE.rglob("*.py"))
        }
    finally:
        gc.freeze()  # the trees stay, and each collection would look at all of their nodes
        gc.enable()


def nodes_of(tree: ast.Module, kind: type[Node]) -> list[Node]:
    """Return the nodes of this kind in a tree."""
    return nodes_by_kind(tree).get(kind, [])


@cache
def nodes_by_kind(tree: ast.Module) -> dict[type, list[Any]]:
    """Return the nodes of a tree, which several tests look at, without those that say `load` or `and`."""
    kinds: dict[type, list[Any]] = {}
    nodes: list[ast.AST] = [tree]
    for node in nodes:
        kinds.setdefault(type(node), []).append(node)
        for name in node._fields:
            value = getattr(node, name)
            if isinstance(value, list):
                nodes += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                nodes.append(value)
    return kinds
