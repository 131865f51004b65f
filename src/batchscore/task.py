"""What are the tasks, and how do they differ? One value a task; a new task begins here.

It knows the API's names and shapes, not how a request is built, sent or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of scoring.

    `name` is the value of the setting, the folder of the scores and the field of a record. `path` is the
    API's, below the base URL. `input_key` names the prompt in a request body; a column of that name holds
    prompts that are ready to send. `probe` is the JSON of a prompt that costs next to nothing.
    `packs_many`: one request may hold many rows. `default_answer_tokens` is what the service writes without a
    limit; `None` if that is up to the model. `simulated_input_tokens` is the longest prompt that the
    simulator accepts. `azure_since` is the first dated version of Azure's API that has a path beside
    `/openai/deployments/`; empty for a path below a deployment.

    `system_key` is the request's field for the system message. Then a prompt is an object with this field and
    `input_key`, and a reply is one object with `output`. If it is empty, a prompt is the value of
    `input_key`, the system message is one of the messages, and a reply has `choices` or `data`.

    `answer_limits` are the names of the parameter that limits an answer; the first is sent. `format_key` is
    the parameter that asks for answers of a form. `default_params` are sent unless they are set.
    `absent_params` are parameters that cannot be set for this task, and what to do instead; `{name}` is the
    name of a setting.
    """

    name: str
    path: str
    input_key: str
    default_answer_tokens: int | None
    probe: bytes = b'"ping"'
    answer: Literal["vector", "text"] = "text"
    packs_many: bool = False
    takes_messages: bool = False
    simulated_input_tokens: int = 128_000
    azure_since: str = ""
    system_key: str = ""
    answer_limits: tuple[str, ...] = ("max_tokens",)
    format_key: Literal["response_format", "text"] = "response_format"
    default_params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    absent_params: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def mlflow_name(self) -> str:
        """The task's name in MLflow's openai flavor."""
        return self.path.replace("/", ".")

    @property
    def usage_counts(self) -> Mapping[str, Any]:
        """The names of the token counts in a reply's `usage`, below names of details for some."""
        if self.system_key:
            cached, reasoning = {"cached_tokens": None}, {"reasoning_tokens": None}
            details = {"input_tokens_details": cached, "output_tokens_details": reasoning}
            return {"input_tokens": None, "output_tokens": None, "total_tokens": None, **details}
        return dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"))

    @property
    def text_part(self) -> str:
        """The type of a message's part that is text."""
        return "input_text" if self.system_key else "text"

    @property
    def conversation_keys(self) -> tuple[str, ...]:
        """The columns of which a cell may be a whole conversation, the request's own first."""
        names = (self.input_key, "messages", "conversations") if self.takes_messages else ()
        return tuple(dict.fromkeys(names))

    @property
    def item_keys(self) -> tuple[str, ...]:
        """The keys of a message, of which each must have one; items of the Responses API may have no role."""
        return ("role", "type") if self.system_key else ("role",)

    def answer_format(
        self, kind: str, form: Mapping[str, Any] | None = None, *, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the parameter that asks for answers of a kind: `json_object`, or `json_schema`.

        `form` holds the name, the schema and the strictness of a `json_schema`. `params` are the request's
        other parameters: `text` has more parts than the format.
        """
        if self.format_key == "text":
            return {"text": {**((params or {}).get("text") or {}), "format": {"type": kind, **(form or {})}}}
        return {"response_format": {"type": kind, **({} if form is None else {kind: form})}}


EMBEDDINGS = Task(
    name="embeddings",
    path="embeddings",
    input_key="input",
    default_answer_tokens=0,
    answer="vector",
    packs_many=True,
    simulated_input_tokens=8192,
    answer_limits=(),
)
COMPLETIONS = Task(
    name="completions",
    path="completions",
    input_key="prompt",
    default_answer_tokens=16,  # OpenAI's API reference, seen 2026-09
)
CHAT = Task(
    name="chat",
    path="chat/completions",
    input_key="messages",
    default_answer_tokens=None,
    probe=b'[{"role":"user","content":"ping"}]',
    takes_messages=True,
    answer_limits=("max_tokens", "max_completion_tokens"),
)
RESPONSES = Task(
    name="responses",
    path="responses",
    input_key="input",
    default_answer_tokens=None,
    probe=b'{"input":"ping"}',
    takes_messages=True,
    azure_since="2025-03-01-preview",  # learn.microsoft.com, "Azure OpenAI Responses API", seen 2026
    system_key="instructions",
    answer_limits=("max_output_tokens",),
    format_key="text",
    # Otherwise the service keeps every response for 30 days.
    default_params={"store": False},
    absent_params={
        "n": "a request has one answer, and {task} chat takes n",
        "instructions": "set {system} instead",
        "background": "batchscore waits for each answer",
        **dict.fromkeys(("max_tokens", "max_completion_tokens"), "set {max_tokens} instead"),
        "response_format": 'set {param} text=\'{{"format": {{"type": "json_object"}}}}\' instead',
        "reasoning_effort": "set {reasoning_effort} instead",
        "verbosity": 'set {param} text=\'{{"verbosity": "low"}}\' instead',
    },
)

#: All tasks by name, in the order in which help and reports list them.
TASKS: Mapping[str, Task] = {task.name: task for task in (EMBEDDINGS, COMPLETIONS, CHAT, RESPONSES)}
