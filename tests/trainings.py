"""Prepared folders, and the service that trains on them, for tests of training jobs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchscore.endpoint.target import resolve_target
from batchscore.finetune.service.calls import CallLimits, TrainingPlace
from batchscore.finetune.state import TrainingState, read_state
from batchscore.finetune.training.commands import run_start
from batchscore.provider.client import CallPace
from batchscore.stores import storage
from endpoint_settings import endpoint_settings

MODEL = "gpt-4.1-mini-2025-04-14"

#: The endpoint of each surface, its version, and what a job needs there besides a model.
SURFACES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "openai": ("{}/v1", None, {}),
    "azure-v1": ("{}/openai/v1", None, {"trainingType": "Standard"}),
    "azure-dated": ("{}", "2024-10-21", {"trainingType": "Standard"}),
}

#: No test waits. A busy machine may need seconds for one call, after which another one is tried.
FAST = CallLimits(
    look=0.02,
    look_again=(0.02, 0.02),
    settle=0.02,
    pace=CallPace(patience_seconds=60.0, calls_per_second=1000.0, retry_seconds=0.02),
)

IMPATIENT = replace(FAST, pace=replace(FAST.pace, patience_seconds=0.2))


def state_of(folder: Path) -> TrainingState:
    """Return the record of a folder, which has one."""
    found = read_state(folder)
    assert found is not None
    return found


def write_prepared(folder: Path, examples: int = 40) -> None:
    """Write what `prepare` writes, without its readers."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Ticket {number} about something"},
                {"role": "assistant", "content": ("billing", "delivery", "other")[number % 3]},
            ]
        }
        for number in range(examples)
    ]
    folder.mkdir()
    parts: dict[str, Any] = {}
    for part, chosen in (("train", rows[:-10]), ("validation", rows[-10:])):
        data = b"".join(json.dumps(row).encode() + b"\n" for row in chosen)
        written = storage.write_whole(folder / f"{part}.jsonl", data)
        tokens = {"total": 300, "median": 9, "p95": 9, "longest": 9, "billed": 300}
        parts[part] = {
            "file": f"{part}.jsonl",
            "examples": len(chosen),
            "bytes": written.bytes,
            "digest": written.digest,
            "tokens": tokens,
            "classes": {},
        }
    summary = {
        "version": 1,
        "format": "chat",
        "written": True,
        "parts": parts,
        "tokens": {"model": MODEL, "limit": 65_536},
    }
    (folder / "prepare.json").write_text(json.dumps(summary))


def place_of(
    folder: Path, endpoint: str, key: str, surface: str = "openai", limits: CallLimits = FAST
) -> TrainingPlace:
    """Return a folder with a surface of a simulator."""
    address, version, _ = SURFACES[surface]
    settings = endpoint_settings(
        task="chat", model="any", endpoint=address.format(endpoint), api_version=version
    )
    target = resolve_target(settings, {"BATCHSCORE_API_KEY": key})
    return TrainingPlace(folder=folder, target=target, environ={}, limits=limits)


def started(place: TrainingPlace, surface: str = "openai") -> TrainingState:
    """Start a job."""
    request = {"model": MODEL, "suffix": "tickets", **SURFACES[surface][2]}
    return run_start(place, request, {}, lambda _: None)
