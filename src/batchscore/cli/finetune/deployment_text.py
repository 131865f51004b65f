"""How do deployments, lists and deletions of `batchscore finetune` look in a terminal, and as JSON?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

from batchscore.cli.finetune.use import Handover, Use, handover
from batchscore.cli.say import aligned
from batchscore.errors import count_text, duration_text, name_settings, visible
from batchscore.finetune.deployment.clean import Deletion
from batchscore.finetune.deployment.commands import Prospect, Ready
from batchscore.finetune.deployment.decide import (
    DAY_SECONDS,
    DeploymentKind,
    hosting_hour,
    hosting_price,
    kind_of,
)
from batchscore.finetune.deployment.inventory import HeldDeployment, HeldModel, Inventory, base_of
from batchscore.finetune.deployment.make import Offer
from batchscore.finetune.deployment.removals import Removal
from batchscore.finetune.state import DeploymentRecord, TrainingState
from batchscore.report.words import money_text, size_text
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import shown_words
from batchscore.stores.address import shell_command
from batchscore.stores.links import real_path

#: The days before a retirement in which the list says how many are left.
SOON_DAYS = 90


def offer_text(offer: Offer, hourly: float | None, command: Callable[..., str]) -> str:
    """Return what would be made and what it costs."""
    wanted, left = offer.wanted, offer.left
    facts = [
        ("model", wanted.model),
        ("deployment", f"{wanted.name}: {wanted.kind.sku}, {wanted.kind.means}"),
        ("capacity", f"{wanted.capacity:,}, in {wanted.kind.unit}"),
        ("cost", cost_text(wanted.kind, wanted.capacity, hourly, offer.base)),
        ("ends", end_of(wanted.kind.sku, wanted.name, command)),
        ("quota left", "not known" if left is None else f"{left:,}"),
        ("permission", "not known" if offer.may is None else "this identity may make deployments"),
    ]
    return "\n".join(aligned([(name, visible(text)) for name, text in facts]))


def deployment_facts(
    state: TrainingState, prices: Any, now: float, command: Callable[..., str]
) -> list[tuple[str, str]]:
    """Return what is recorded of a deployment that is there: its cost, and how it ends."""
    made, base = state.deployment, state.job.base_model
    if made is None or 0 < made.ends_at <= now:
        return []
    cost = cost_text(kind_of(made.sku), made.capacity, hosting_price(prices, base), base)
    return [
        ("deployment", f"{made.name}: {made.sku}"),
        ("cost", cost),
        ("ends", end_of(made.sku, made.name, command)),
    ]


def prospect_text(found: Prospect) -> str:
    """Return whether a model could be deployed."""
    left = "not known" if found.left is None else f"{found.left:,}"
    may = {True: "this identity may deploy", False: "this identity may NOT deploy", None: "not known"}
    lines = [f"deployment: {found.wanted.kind.sku} in {found.location or 'an unknown region'}"]
    lines += [f"  permission: {may[found.may]}"]
    lines += [f"  quota left: {left}; this deployment takes {found.wanted.capacity:,}"]
    return "\n".join([*lines, *(f"  {problem}" for problem in found.problems)])


def prospect_json(found: Prospect) -> dict[str, Any]:
    """Return whether a model could be deployed as JSON; null is what nobody says."""
    return {
        "sku": found.wanted.kind.sku,
        "capacity": found.wanted.capacity,
        "location": found.location or None,
        "permission": found.may,
        "quota_left": found.left,
        "problems": list(found.problems),
    }


def cost_text(kind: DeploymentKind, capacity: int, hourly: float | None, base: str) -> str:
    """Return what a deployment costs while it exists."""
    price = hosting_hour(kind, capacity, hourly)
    if price is None:
        return (
            f"by the hour while it exists, used or not: give --prices a file with hosting = PRICE for {base}"
        )
    if price == 0:
        return "nothing by the hour; tokens are billed as usual"
    units = "; and tokens"
    if kind.by_unit and hourly is not None:
        units = f", if the hosting price of {money_text(hourly)} in --prices is that of one unit"
    return (
        f"{money_text(price)} an hour while it exists, used or not: {money_text(price * 24)} a day, "
        f"{money_text(price * 24 * 30)} in 30 days{units}"
    )


def end_of(sku: str, name: str, command: Callable[..., str]) -> str:
    """Return when a deployment ends by itself, and how to end it."""
    life = kind_of(sku).life_seconds
    clean = command("clean", "--deployment", name, "--yes")
    if life:
        return f"the service removes it {duration_text(life)} after it was made; earlier with: {clean}"
    return f"not by itself, except after 15 days without a request. To end it, run: {clean}"


def commands_of(
    folder: str, summary: Mapping[str, Any], ready: Ready, base: str, endpoint: Sequence[str]
) -> Handover:
    """Return the commands that use a model."""
    checkpoint = "" if ready.model == ready.state.job.model else ready.model
    use = Use(ready.model, base, ready.deployment, endpoint, checkpoint)
    return handover(folder, summary, use, new_folder(f"{real_path(folder).name}-model"))


def new_folder(name: str) -> str:
    """Return the path of a folder in the working folder that is not there yet: its name may get a number."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(f"./{each}" for each in names if not Path(each).exists())


def ready_text(
    ready: Ready, hourly: float | None, commands: Handover, command: Callable[..., str], now: float
) -> str:
    """Return that a model answers, what that costs, and the commands that use it."""
    lines = []
    if not ready.deployment:
        lines.append(f"{ready.model} answers. At this service a trained model needs no deployment.")
    elif ready.ours:
        lines.append(f"{ready.deployment} answers: a deployment of {ready.model} ({ready.sku}).")
        base = base_of(ready.model) or "its base model"
        lines.append(f"It costs {cost_text(kind_of(ready.sku), ready.capacity, hourly, base)}.")
        if ready.ends_at:
            left = duration_text(max(0.0, ready.ends_at - now))
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(ready.ends_at))
            lines.append(f"The service removes it at {at}, in {left}.")
    else:
        lines.append(f"{ready.note} That one answers; this folder did not make it, and clean leaves it.")
    lines += [
        "",
        "To score a table INPUT with the system message and the prompt of the training, run:",
        f"  {commands.score}",
    ]
    if commands.evaluate:
        lines += ["", "To find out whether training was worth it, score the test part with both models:"]
        lines += [f"  {each}" for each in commands.evaluate]
        if ready.deployment:
            lines.append("  (-m is also the deployment of the base model: write its name if that differs)")
    lines += ["", "To keep this as an MLflow model, with the system message, and to score with it, run:"]
    lines += [f"  {commands.save}", f"  {commands.use_saved}"]
    lines += ["", "To delete the model, its files and its deployment, run:"]
    lines.append(f"  {command('clean')}")
    return "\n".join(lines)


def interrupted_text(made: DeploymentRecord, hourly: float | None, command: Callable[..., str]) -> str:
    """Return what a user should know who has interrupted a deployment."""
    cost = cost_text(kind_of(made.sku), made.capacity, hourly, base_of(made.model) or "its base model")
    return (
        f"Interrupted. Azure makes the deployment {made.name} nevertheless. Cost: {cost}.\n"
        f"To continue, run: {command('deploy')}\n"
        f"To remove it, run: {command('clean', '--deployment', made.name, '--yes')}"
    )


def ready_json(ready: Ready, hourly: float | None, commands: Handover) -> dict[str, Any]:
    """Return a model that answers as JSON."""
    return {
        "model": ready.model,
        "deployment": ready.deployment or None,
        "sku": ready.sku or None,
        "ours": ready.ours,
        "created_at": ready.created_at or None,
        "ends_at": ready.ends_at or None,
        "cost_per_hour": (
            hosting_hour(kind_of(ready.sku), ready.capacity, hourly) if ready.deployment else 0.0
        ),
        "commands": {**asdict(commands), "evaluate": list(commands.evaluate)},
    }


def day(seconds: float | None) -> str:
    """Return a day in UTC, "-" if there is none."""
    return "-" if not seconds else time.strftime("%Y-%m-%d", time.gmtime(seconds))


def inventory_text(found: Inventory, service: str, prices: Any, now: float) -> str:
    """Return tables of all that is there, and what it costs."""
    cells = [["KIND", "ID", "STATE", "ABOUT"]]
    cells += [
        [
            "job",
            job.id,
            job.status,
            f"{job.model}, made {day(job.created)}" + (f", {job.error_code}" if job.error_code else ""),
        ]
        for job in found.jobs
    ]
    cells += [["model", each.id, "-", retirement_text(each, now)] for each in found.models]
    cells += [
        ["deployment", each.deployed.name, each.deployed.state, deployment_text(each, prices, now)]
        for each in found.deployments
    ]
    cells += [
        ["file", each.id, each.status or "-", f"{each.name}, {size_text(each.bytes)}"] for each in found.files
    ]
    lines = [*aligned([[visible(cell) for cell in row] for row in cells]), ""] if len(cells) > 1 else []
    lines.append(left_text(found, service, prices))
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def retirement_text(model: HeldModel, now: float) -> str:
    """Return until when a model can be used, and how long that is if it is soon."""
    if not model.used_until:
        return "no end announced"
    days = int((model.used_until - now) // DAY_SECONDS)
    soon = " (has retired)" if days < 0 else f", in {count_text(days, 'day')}" if days < SOON_DAYS else ""
    return f"retires {day(model.used_until)}{soon}"


def left_text(found: Inventory, service: str, prices: Any) -> str:
    """Return how much is left and what it costs."""
    if found.left:
        hourly = [cost_of(each, prices) for each in found.deployments if each.hourly]
        known = [each for each in hourly if each is not None]
        cost = f" Deployments cost {money_text(sum(known))} an hour." if known else ""
        more = (
            " Some cost by the hour: give --prices a file with their hosting prices."
            if len(known) < len(hourly)
            else ""
        )
        return f"{count_text(found.left, 'thing')} left at {service}.{cost}{more}"
    if found.notes:
        return f"Nothing is left at {service} of what could be listed."
    record = " The jobs above have ended: they are a record, and cost nothing." if found.jobs else ""
    return f"Nothing is left at {service} that costs, runs or takes up a quota.{record}"


def deployment_text(each: HeldDeployment, prices: Any, now: float) -> str:
    """Return a deployment's kind, hours, cost and end."""
    parts = [f"{each.deployed.model}", f"{each.deployed.sku} {each.deployed.capacity}"]
    if each.up_seconds:
        parts.append(f"up {duration_text(each.up_seconds)}")
        price = cost_of(each, prices)
        if price:
            parts.append(f"hosting so far {money_text(price * each.up_seconds / 3600)}")
    if each.ends_at:
        parts.append(f"removed in {duration_text(max(0.0, each.ends_at - now))}")
    return ", ".join(parts)


def cost_of(each: HeldDeployment, prices: Any) -> float | None:
    """Return what an hour of a deployment costs, `None` if no price is known."""
    made = each.deployed
    price = hosting_price(prices, made.model, base_of(made.model))
    return hosting_hour(kind_of(made.sku or "unknown"), made.capacity, price)


def inventory_json(found: Inventory, prices: Any) -> dict[str, Any]:
    """Return all that is there as JSON. Times are seconds since the epoch, null if not known."""
    return {
        "jobs": [
            {"id": job.id, "status": job.status, "base": job.model, "model": job.trained_model or None}
            | {"created_at": job.created, "finished_at": job.finished, "ended": job.ended}
            for job in found.jobs
        ],
        "models": [{"id": model.id, "retires_at": model.used_until} for model in found.models],
        "deployments": [
            {
                "name": each.deployed.name,
                "model": each.deployed.model,
                "state": each.deployed.state,
                "sku": each.deployed.sku,
                "capacity": each.deployed.capacity,
                "created_at": each.deployed.created_at or None,
                "hours": each.up_seconds / 3600,
                "ends_at": each.ends_at or None,
                "cost_per_hour": cost_of(each, prices),
            }
            for each in found.deployments
        ],
        "files": [
            {"id": file.id, "name": file.name, "bytes": file.bytes, "status": file.status}
            for file in found.files
        ],
        "left": found.left,
        "notes": list(found.notes),
    }


def removals_text(removals: Sequence[Removal]) -> str:
    """Return what will be deleted, in the order of deletion."""
    if not removals:
        return "Nothing is left to delete."
    lines = ["To delete, in this order:"]
    for each in removals:
        lines.append(f"  {visible(each.name)} ({visible(each.what)})")
        if each.blocked:
            lines.append(f"      not yet: {reason(each.blocked)}")
    return "\n".join(lines)


def reason(why: str) -> str:
    """Return why something was not deleted, with the flags that help."""
    return visible(name_settings(why, as_flag))


def cleaned_text(
    removals: Sequence[Removal],
    outcomes: Sequence[Deletion],
    words: Sequence[str],
    listing: str,
    *,
    done: bool,
) -> str:
    """Return what was deleted, what was not and why, and the next command; `listing` is one, too."""
    if not removals:
        return "Nothing is left to delete."
    if all(each.blocked for each in removals):
        return "Nothing was deleted: nothing can be, yet."
    if not done:
        command = shell_command(["batchscore", *shown_words([*words, "--yes"])])
        return f"Nothing was deleted. To delete it, run: {command}"
    lines = []
    for each in outcomes:
        if each.why:
            lines.append(f"not deleted: {visible(each.removal.name)}: {reason(each.why)}.")
        else:
            instead = f"; {visible(each.instead)}" if each.instead else ""
            state = "deleted" if each.was_there else "not there"
            lines.append(f"{state}: {visible(each.removal.name)}{instead}")
    if any(not each.why and not each.was_there and each.removal.is_named for each in outcomes):
        lines.append(f"Is a name misspelled? To see what there is, run: {listing}")
    return "\n".join(lines)


def cleaned_json(removals: Sequence[Removal], outcomes: Sequence[Deletion], *, done: bool) -> dict[str, Any]:
    """Return what was to be deleted and what became of it as JSON."""
    ends = {(each.removal.thing, each.removal.id): each for each in outcomes}
    found = []
    for each in removals:
        end = ends.get((each.thing, each.id))
        state = "kept" if end is None or end.why else "deleted" if end.was_there else "not_there"
        why = name_settings(each.blocked if end is None else end.why or end.instead, as_flag) or None
        found.append({"kind": each.thing.name.lower(), "id": each.id, "state": state, "why": why})
    return {"removals": found, "done": done}
