"""What does a YAML file hold, and on which line does each thing stand?

It knows YAML, not Azure ML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import yaml

#: The keys and list positions that lead to a value, from the top of the file.
Steps: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What is wrong in a file, and where: `line` counts from 1; 0 is the file as a whole."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its `data` as YAML means it, and where each value stands."""

    path: Path
    text: str
    data: Any
    lines: dict[Steps, int] = field(repr=False)
    repeated: tuple[Steps, ...] = ()

    def get(self, *steps: str | int) -> Any:
        """Return the value that these steps lead to; `None` where there is none."""
        value = self.data
        for step in steps:
            if isinstance(step, int):
                value = value[step] if isinstance(value, list) and step < len(value) else None
            else:
                value = value.get(step) if isinstance(value, dict) else None
        return value

    def table(self, *steps: str | int) -> dict[str, Any]:
        """Return the mapping that these steps lead to; empty where there is none."""
        value = self.get(*steps)
        return value if isinstance(value, dict) else {}

    def line(self, *steps: str | int) -> int:
        """Return the line where a value stands, or else the nearest thing around it."""
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 0)

    def finding(self, message: str, *steps: str | int) -> Finding:
        """Return what is wrong with the value that these steps lead to."""
        return Finding(self.path, self.line(*steps), message)

    def leaves(self) -> Iterator[tuple[Steps, Any]]:
        """Give every value that holds no others, with the steps to it."""
        yield from _leaves(self.data, ())


def read_document(path: Path) -> Document | Finding:
    """Read a YAML file, or say why it cannot be read."""
    import yaml  # noqa: PLC0415 - it comes with the extra

    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        return Finding(path, 0, f"cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        return Finding(path, 0, "cannot be read: it is not UTF-8.")
    lines: dict[Steps, int] = {}
    repeated: list[Steps] = []
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            return Finding(path, 0, "is empty.")
        _locate(node, (), lines, repeated)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        return Finding(path, line, f"is not YAML: {error.problem}.")
    except (yaml.YAMLError, ValueError, RecursionError):
        return Finding(path, 0, "is not YAML.")
    return Document(path, text, data, lines, tuple(repeated))


def _locate(node: yaml.Node, steps: Steps, lines: dict[Steps, int], repeated: list[Steps]) -> None:
    """Note on which line each value below a node begins: a mapping's where its key stands."""
    import yaml  # noqa: PLC0415

    lines.setdefault(steps, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*steps, str(key.value))
            if below in lines:
                repeated.append(below)
            lines[below] = key.start_mark.line + 1
            _locate(value, below, lines, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _locate(value, (*steps, number), lines, repeated)


def _leaves(value: Any, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, (*steps, str(key)))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _leaves(below, (*steps, number))
    else:
        yield steps, value
