"""What are the tasks, and how do they differ? One value a task; a new task begins here.

It knows the API's names and shapes, not how a request is built, sent or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of scoring.

    `name` is the value of the setting, the folder of the scores and the field of a record. `path` is the
    API's, below the base URL. `input_key` names the prompt in a request body; a column of that name holds
    prompts that are ready to send. `probe` is the JSON of a prompt that costs next to nothing.
    `packs_many`: one request may hold many rows. `default_answer_tokens` is what the service writes without a
    limit; `None` if that is up to the model. `simulated_input_tokens` is the longest prompt that the
    simulator accepts. `mlflow_name` is the task's name in MLflow's openai flavor.
    """

    name: str
    path: str
    input_key: str
    probe: bytes
    answer: Literal["vector", "text"]
    packs_many: bool
    takes_messages: bool
    default_answer_tokens: int | None
    simulated_input_tokens: int
    mlflow_name: str


EMBEDDINGS = Task(
    name="embeddings",
    path="embeddings",
    input_key="input",
    probe=b'"ping"',
    answer="vector",
    packs_many=True,
    takes_messages=False,
    default_answer_tokens=0,
    simulated_input_tokens=8192,
    mlflow_name="embeddings",
)
COMPLETIONS = Task(
    name="completions",
    path="completions",
    input_key="prompt",
    probe=b'"ping"',
    answer="text",
    packs_many=False,
    takes_messages=False,
    default_answer_tokens=16,  # OpenAI's API reference, seen 2026-09
    simulated_input_tokens=128_000,
    mlflow_name="completions",
)
CHAT = Task(
    name="chat",
    path="chat/completions",
    input_key="messages",
    probe=b'[{"role":"user","content":"ping"}]',
    answer="text",
    packs_many=False,
    takes_messages=True,
    default_answer_tokens=None,
    simulated_input_tokens=128_000,
    mlflow_name="chat.completions",
)

#: All tasks by name, in the order in which help and reports list them.
TASKS: Mapping[str, Task] = {task.name: task for task in (EMBEDDINGS, COMPLETIONS, CHAT)}
