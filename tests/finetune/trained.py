"""A folder whose model is trained at the simulator, as `batchscore finetune start` leaves it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai

from batchscore.finetune.state import FileRecord, JobRecord, ResultsRecord, TrainingState, write_state
from batchscore.simulator import Running
from simulated import ACCOUNT_ID, Project
from tuning_jobs import AZURE, MODEL, example, training_file

#: The addresses of a service's surfaces, as settings.
SURFACES: dict[str, dict[str, str]] = {
    "openai": {"BATCHSCORE_ENDPOINT": "{}/v1"},
    "azure-v1": {"BATCHSCORE_ENDPOINT": "{}/openai/v1"},
    "azure-dated": {"BATCHSCORE_ENDPOINT": "{}", "BATCHSCORE_API_VERSION": "2024-10-21"},
}

SYSTEM = "Name the topic."


def variables(simulator: Running, project: Project, surface: str) -> dict[str, str]:
    """Return the variables with which commands reach a project."""
    found = {name: text.format(simulator.endpoint) for name, text in SURFACES[surface].items()}
    found |= {"BATCHSCORE_API_KEY": project.key, **project.identity()}
    return found | {"BATCHSCORE_ARM_ENDPOINT": simulator.endpoint, "BATCHSCORE_AZURE_RESOURCE": ACCOUNT_ID}


def client_of(simulator: Running, project: Project, surface: str) -> openai.OpenAI:
    """Return the official client of a surface."""
    if surface == "azure-dated":
        return openai.AzureOpenAI(
            azure_endpoint=simulator.endpoint, api_version="2024-10-21", api_key=project.key
        )
    base = SURFACES[surface]["BATCHSCORE_ENDPOINT"].format(simulator.endpoint)
    return openai.OpenAI(base_url=base, api_key=project.key)


def train(simulator: Running, project: Project, folder: Path, surface: str = "azure-v1") -> TrainingState:
    """Train a model, and write what the commands know of it into the folder."""
    project.set_tuning(validating=0, queued=0, running=0, creating=0)
    request: dict[str, Any] = {"model": MODEL, **({} if surface == "openai" else AZURE)}
    more = {} if surface == "openai" else {"extra_body": AZURE}
    with client_of(simulator, project, surface) as client:
        file = client.files.create(file=training_file(40), purpose="fine-tune")
        made = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, **more)
        job = client.fine_tuning.jobs.retrieve(made.id)
    assert job.status == "succeeded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prepare.json").write_text(
        json.dumps(
            {
                "version": 1,
                "written": True,
                "format": "chat",
                "fields": {"prompt": "{text}", "answer": "{topic}", "system": SYSTEM},
                "system": SYSTEM,
                "parts": {"test": {"file": "test.jsonl"}},
            }
        )
    )
    test = [json.dumps(example(number)) for number in range(100, 130)]
    (folder / "test.jsonl").write_text("\n".join(test) + "\n")
    record = JobRecord(
        request=request,
        intent_at=1.0,
        id=job.id,
        status="succeeded",
        created_at=float(job.created_at),
        model=job.fine_tuned_model or "",
        result_files=tuple(job.result_files or ()),
    )
    state = TrainingState(
        run="a" * 32,
        endpoint=simulator.endpoint.partition("://")[2],
        dialect=surface,
        training=FileRecord(
            name="train.jsonl", digest="xxh3:0", bytes=1, intent_at=1.0, file_id=file.id, processed=True
        ),
        job=record,
        results=ResultsRecord(file_id=record.result_files[0], digest=""),
    )
    return write_state(folder, state)


def forget_results(folder: Path, state: TrainingState) -> TrainingState:
    """Let a folder be one whose results were not downloaded."""
    return write_state(folder, replace(state, results=None))
