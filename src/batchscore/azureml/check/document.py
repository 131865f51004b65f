"""What does a file of Azure ML describe, and on which line is each value?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

#: The end of a file's `$schema`, without `.schema.json`, and the kind of file.
KINDS: Mapping[str, str] = {
    "batchEndpoint": "endpoint",
    "modelBatchDeployment": "deployment",
    "batchDeployment": "deployment",
    "pipelineJob": "pipeline",
    "schedule": "schedule",
    "amlCompute": "compute",
    "environment": "environment",
    "data": "data",
}

#: The beginnings of a deployment's keys, and of the keys of a parallel step that hold the same.
IN_A_STEP = {
    "settings.": "",
    "code_configuration.code": "task.code",
    "code_configuration.scoring_script": "task.entry_script",
    "environment": "task.environment",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake in a file: `line` counts from 1; `None` is the file as a whole."""

    file: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: values and lines by key, and the keys that occur twice.

    A key is the path from the top of the file, such as `settings.retry_settings.timeout` or `dependencies.0`.
    """

    path: Path
    text: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    repeated: Sequence[str]

    @property
    def kind(self) -> str:
        """What the file describes by its `$schema`; empty if that is not Azure ML's or not known."""
        schema = str(self.values.get("$schema"))
        match = re.search(r"azuremlschemas\.azureedge\.net/.*?(\w+)\.schema\.json$", schema)
        return KINDS.get(match.group(1), "") if match else ""

    def sections(self) -> Iterator[Section]:
        """Give the file as a whole, and each parallel step of a pipeline."""
        whole = Section(self, self.kind)
        yield whole
        for name, step in whole.table("jobs").items():
            if isinstance(step, dict) and (
                step.get("type") == "parallel" or isinstance(step.get("task"), dict)
            ):
                yield Section(self, "step", f"jobs.{name}")

    def finding(self, message: str, key: str = "") -> Finding:
        """Return a mistake in the value at this key, on its line or on that of the nearest value above."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return Finding(self.path, self.lines.get(key), message)


@dataclass(frozen=True, slots=True)
class Section:
    """A file, or one parallel step in a file. A step's values have the keys that a deployment's have."""

    document: Document
    kind: str
    base: str = ""

    def key(self, key: str) -> str:
        """Return the key of a value in the document."""
        if not self.base:
            return key
        for start, in_a_step in IN_A_STEP.items():
            if key.startswith(start):
                return f"{self.base}.{in_a_step}{key.removeprefix(start)}"
        return f"{self.base}.{key}"

    def get(self, key: str) -> Any:
        """Return the value at this key; `None` if there is none."""
        return self.document.values.get(self.key(key))

    def table(self, key: str) -> dict[str, Any]:
        """Return the mapping at this key; empty if there is none."""
        value = self.get(key)
        return value if isinstance(value, dict) else {}

    def finding(self, message: str, key: str) -> Finding:
        """Return a mistake in the value at this key."""
        return self.document.finding(message, self.key(key))


def read_document(path: Path) -> Document | Finding:
    """Read a YAML file, or return why it cannot be read."""
    import yaml  # noqa: PLC0415 - it comes with the extra

    lines: dict[str, int] = {}
    repeated: list[str] = []

    def locate(node: yaml.Node, key: str) -> None:
        lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                below = f"{key}.{name.value}".lstrip(".")
                if below in lines:
                    repeated.append(below)
                lines[below] = name.start_mark.line + 1
                locate(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                locate(value, f"{key}.{number}".lstrip("."))

    try:
        text = path.read_text("utf-8-sig")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Finding(path, None, "is empty.")
        locate(node, "")
        values = dict(flatten("", loader.construct_document(node)))
    except OSError as error:
        return Finding(path, None, f"cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        return Finding(path, None, "cannot be read: it is not UTF-8.")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return Finding(path, line, f"is not YAML: {error.problem}.")
    except (yaml.YAMLError, ValueError, RecursionError):
        return Finding(path, None, "is not YAML.")
    return Document(path, text, values, lines, repeated)


def flatten(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Give every value with its key, also mappings and lists."""
    yield key, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in items:
        yield from flatten(f"{key}.{name}".lstrip("."), below)
