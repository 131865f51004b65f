"""What do the management's lists of models and quota say?

It must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from batchscore.simulator.finetune.arm_errors import QUOTA
from batchscore.simulator.finetune.deployments import SKUS
from batchscore.simulator.finetune.models import BASE_MODELS
from batchscore.simulator.finetune.tuning import Tuning


def _split(name: str) -> tuple[str, str]:
    """Return the name of a base model without its date, and the date, which is its version."""
    base, _, date = name.rpartition("-20")
    return (base, f"20{date}") if base else (name, "1")


def account_models(tuning: Tuning) -> list[dict[str, Any]]:
    """Return the models that can be deployed: base models, and those of this account."""
    found = [
        _model(tuning, *_split(name), deployable=name, trains=bool(methods))
        for name, methods in BASE_MODELS.items()
    ]
    for model in tuning.models.all():
        if tuning.sees(model) and not model.name.startswith("ftchkpt-"):
            base, version = _split(model.base)
            shown = _model(tuning, model.name, "1", deployable=model.name, trains=False)
            found.append({**shown, "baseModel": {"format": "OpenAI", "name": base, "version": version}})
    return found


def _model(tuning: Tuning, name: str, version: str, *, deployable: str, trains: bool) -> dict[str, Any]:
    rules, models = tuning.rules, tuning.models
    ends = {"inference": iso_time(models.answers_until(rules))}
    if trains:
        ends["fineTune"] = iso_time(models.trains_until(rules))
    return {
        "format": "OpenAI",
        "name": name,
        "version": version,
        "isDefaultVersion": True,
        "skus": [
            {
                "name": sku,
                "usageName": tuning.deployments.usage_name(deployable, sku),
                "deprecationDate": ends["inference"],
                "capacity": {"minimum": 1, "maximum": rules.quota, "step": 1, "default": 10},
            }
            for sku in SKUS.values()
        ],
        "capabilities": {"chatCompletion": "true", **({"fineTune": "true"} if trains else {})},
        "finetuneCapabilities": {"chatCompletion": "true"} if trains else None,
        "deprecation": ends,
        "lifecycleStatus": "GenerallyAvailable",
    }


def iso_time(at: float) -> str:
    """Return a time as the management writes it."""
    return datetime.fromtimestamp(int(at), tz=timezone.utc).isoformat().replace("+00:00", "Z")


def usages(tuning: Tuning) -> list[dict[str, Any]]:
    """Return each quota, and how much of it is in use: those of base models and of tuned ones."""
    return [
        {
            "name": {"value": name, "localizedValue": f"{QUOTA} - {name.split('.', 2)[2]}"},
            "currentValue": tuning.deployments.used(name),
            "limit": tuning.rules.quota,
            "unit": "Count",
        }
        for name in _usage_names(tuning)
    ]


def _usage_names(tuning: Tuning) -> Iterator[str]:
    for sku in SKUS.values():
        for base in BASE_MODELS:
            name = tuning.deployments.usage_name(base, sku)
            yield name
            if BASE_MODELS[base]:
                yield f"{name}-finetune"


def capacities(tuning: Tuning, name: str, version: str) -> list[dict[str, Any]]:
    """Return how much of each kind of deployment is left for a base model, and for those tuned from it."""
    found = []
    for sku in SKUS.values():
        usage = tuning.deployments.usage_name(name, sku)
        left = [tuning.rules.quota - tuning.deployments.used(one) for one in (usage, f"{usage}-finetune")]
        found.append(
            {
                "name": sku,
                "properties": {
                    "model": {"format": "OpenAI", "name": name, "version": version},
                    "skuName": sku,
                    "availableCapacity": max(0, left[0]),
                    "availableFinetuneCapacity": max(0, left[1]),
                },
            }
        )
    return found
