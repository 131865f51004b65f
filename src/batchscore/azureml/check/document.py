"""What does a YAML file hold, and on which line is each value?

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
Keys: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A mistake in a file: `line` counts from 1; 0 is the file as a whole."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its `data`, the line of each value, and the keys that occur twice."""

    path: Path
    text: str
    data: Any
    lines: dict[Keys, int] = field(repr=False)
    repeated: tuple[Keys, ...] = ()

    def get(self, *keys: str | int) -> Any:
        """Return the value at these keys; `None` if there is none."""
        value = self.data
        for key in keys:
            if isinstance(key, int):
                value = value[key] if isinstance(value, list) and key < len(value) else None
            else:
                value = value.get(key) if isinstance(value, dict) else None
        return value

    def table(self, *keys: str | int) -> dict[str, Any]:
        """Return the mapping at these keys; empty if there is none."""
        value = self.get(*keys)
        return value if isinstance(value, dict) else {}

    def finding(self, message: str, *keys: str | int) -> Finding:
        """Return a mistake in the value at these keys, on its line or on that of the nearest value above."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return Finding(self.path, self.lines.get(keys, 0), message)

    def leaves(self) -> Iterator[tuple[Keys, Any]]:
        """Give every value that is neither mapping nor list, with its keys."""
        stack: list[tuple[Keys, Any]] = [((), self.data)]
        while stack:
            keys, value = stack.pop()
            if isinstance(value, dict):
                stack += [((*keys, str(key)), below) for key, below in value.items()]
            elif isinstance(value, list):
                stack += [((*keys, number), below) for number, below in enumerate(value)]
            else:
                yield keys, value


def read_document(path: Path) -> Document | Finding:
    """Read a YAML file, or return why it cannot be read."""
    import yaml  # noqa: PLC0415 - it comes with the extra

    lines: dict[Keys, int] = {}
    repeated: list[Keys] = []

    def locate(node: yaml.Node, keys: Keys) -> None:
        lines.setdefault(keys, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*keys, str(key.value))
                if below in lines:
                    repeated.append(below)
                lines[below] = key.start_mark.line + 1
                locate(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                locate(value, (*keys, number))

    try:
        text = path.read_text("utf-8-sig")
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            return Finding(path, 0, "is empty.")
        locate(node, ())
        data = yaml.safe_load(text)
    except OSError as error:
        return Finding(path, 0, f"cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        return Finding(path, 0, "cannot be read: it is not UTF-8.")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        return Finding(path, line, f"is not YAML: {error.problem}.")
    except (yaml.YAMLError, ValueError, RecursionError):
        return Finding(path, 0, "is not YAML.")
    return Document(path, text, data, lines, tuple(repeated))
