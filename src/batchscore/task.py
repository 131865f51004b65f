"""What are the tasks, and how do they differ? One value a task; a new task begins here.

It knows the API's names and shapes, not how a request is built, sent or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
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
    mlflow_name: str
    default_answer_tokens: int | None
    probe: bytes = b'"ping"'
    answer: Literal["vector", "text"] = "text"
    packs_many: bool = False
    takes_messages: bool = False
    simulated_input_tokens: int = 128_000


EMBEDDINGS = Task(
    name="embeddings",
    path="embeddings",
    input_key="input",
    mlflow_name="embeddings",
    default_answer_tokens=0,
    answer="vector",
    packs_many=True,
    simulated_input_tokens=8192,
)
COMPLETIONS = Task(
    name="completions",
    path="completions",
    input_key="prompt",
    mlflow_name="completions",
    default_answer_tokens=16,  # OpenAI's API reference, seen 2026-09
)
CHAT = Task(
    name="chat",
    path="chat/completions",
    input_key="messages",
    mlflow_name="chat.completions",
    default_answer_tokens=None,
    probe=b'[{"role":"user","content":"ping"}]',
    takes_messages=True,
)

#: All tasks by name, in the order in which help and reports list them.
TASKS: Mapping[str, Task] = {task.name: task for task in (EMBEDDINGS, COMPLETIONS, CHAT)}
