"""Which commands use a trained model as it was trained, and find out whether training was worth it?

A model that is asked in another way than it was trained answers worse, so the commands have the system
message and the templates of the training. It reads no row and calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.finetune.prepared_folder import file_of
from batchscore.settings.secrets import shown_words
from batchscore.stores.address import command_word, shell_command

#: Models that refuse a temperature.
_FIXED_TEMPERATURE = re.compile(r"(o\d|gpt-5)")


@dataclass(frozen=True, slots=True)
class Use:
    """How a model is called: `base` is the model that was trained, `deployment` its name on Azure, or "".

    `endpoint` are the flags of the endpoint that the user gave. `checkpoint` is the model's name, or "" if it
    is the last one of its job.
    """

    model: str
    base: str
    deployment: str = ""
    endpoint: Sequence[str] = ()
    checkpoint: str = ""

    @property
    def mark(self) -> str:
        """What tells files about a checkpoint from those about the job's last model."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.checkpoint.rpartition(":")[2])
        return plain and f"-{plain}"

    @property
    def tuned(self) -> list[str]:
        """The flags that name the trained model. The base's name says how its tokens are counted."""
        return ["-m", self.base, "--deployment", self.deployment] if self.deployment else ["-m", self.model]


@dataclass(frozen=True, slots=True)
class Handover:
    """Commands that can be copied. `evaluate` are the three that compare the base and the trained model.

    `use_saved` scores with the MLflow model that `save` writes.
    """

    score: str
    save: str
    use_saved: str
    evaluate: Sequence[str]


def handover(folder: str, summary: Mapping[str, Any], use: Use, saved: str) -> Handover:
    """Return the commands for the model of a prepared folder; `summary` is its prepare.json.

    `saved` is a new folder for the MLflow model.
    """
    prompt = prompt_flags(summary)
    score = ["batchscore", "score", "INPUT", "-o", "OUT", "--task", "chat"]
    score += [*use.tuned, *use.endpoint, *prompt]
    # A saved model holds no endpoint; its name there is the one that requests are sent with.
    save = ["batchscore", "model", "save", saved, "--task", "chat"]
    save += ["-m", use.deployment or use.model, *prompt]
    use_saved = ["batchscore", "score", "INPUT", "-o", "OUT", "--model", saved, *use.endpoint]
    return Handover(shown(score), shown(save), shown(use_saved), evaluation(folder, summary, use))


def prompt_flags(summary: Mapping[str, Any]) -> list[str]:
    """Return the flags that make a prompt as the training had it."""
    fields = summary.get("fields") or {}
    system = fields.get("system")
    if system is None and isinstance(summary.get("system"), str):
        system = summary["system"].replace("{", "{{").replace("}", "}}")
    prompt = fields.get("prompt")
    return [*(["--system", system] if system else []), *(["--prompt", prompt] if prompt else [])]


def evaluation(folder: str, summary: Mapping[str, Any], use: Use) -> list[str]:
    """Return the commands that compare both models on the test part; none without one."""
    part = (summary.get("parts") or {}).get("test") or {}
    if summary.get("format") != "chat" or not part.get("file"):
        return []
    where = command_word(folder.rstrip("/") or "/")
    test, outputs = f"{where}/{file_of('test')}", [f"{where}/scores-base", f"{where}/scores-tuned{use.mark}"]
    score = ["batchscore", "score", test, "--task", "chat", "--drop-last-assistant"]
    if not _FIXED_TEMPERATURE.match(use.base):
        score += ["--temperature", "0"]
    models = (["-m", use.base], use.tuned)
    scores = [[*score, "-o", out, *model, *use.endpoint] for out, model in zip(outputs, models, strict=True)]
    compare = ["batchscore", "evaluate", *outputs, "--names", "base,tuned", "--label", "messages"]
    return [shown(each) for each in (*scores, [*compare, "-o", f"{where}/evaluation{use.mark}"])]


def shown(words: Sequence[str]) -> str:
    """Return a command that can be copied; a secret in a flag of the endpoint is hidden."""
    return shell_command(shown_words(words))
