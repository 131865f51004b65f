"""What do `deploy`, `list` and `clean` do, from a folder's state to their result?

They hold the folder's lock while they change something. Nothing is made or deleted before `agree` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.errors import InputError, ServiceRefused
from batchscore.finetune.deployment.clean import Cleaner, Deletion
from batchscore.finetune.deployment.decide import (
    DeploymentKind,
    DeployStep,
    WantedDeployment,
    checked_capacity,
    kind_of,
    name_for,
    no_room,
)
from batchscore.finetune.deployment.inventory import Inventory, take_inventory
from batchscore.finetune.deployment.make import (
    Deployer,
    Offer,
    look_seconds,
    may_not,
    read_permission,
    read_room,
    wait_for_answer,
)
from batchscore.finetune.deployment.removals import Named, Removal, Thing, blocked_by, removals_of
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.service.calls import TrainingPlace, host_of, require_endpoint
from batchscore.finetune.service.dialects import DIALECTS, TrainingDialect, dialect_of
from batchscore.finetune.service.resource import ResourceOptions
from batchscore.finetune.state import TrainingState, hold_folder, require_state
from batchscore.finetune.training.begin import require_own
from batchscore.finetune.training.follow import renewed
from batchscore.finetune.training.same_data import is_kept
from batchscore.provider.arm import WRITE, look_at_account
from batchscore.provider.client import CallFailed, ControlPlane, NotThere, error_of_call
from batchscore.provider.job_object import ENDED
from batchscore.provider.jobs import checkpoints_of, look_at_job
from batchscore.provider.models import list_models
from batchscore.settings.declare import as_flag

#: Seconds until a model that needs no deployment must answer.
MODEL_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Caller:
    """How a command reaches its service, and how it speaks to the user."""

    place: TrainingPlace
    resource: ResourceOptions = field(default_factory=ResourceOptions)
    listen: Callable[[str], object] = str
    clock: Callable[[], float] = time.time

    def manager(self) -> AbstractAsyncContextManager[ControlPlane]:
        """Return the calls to Resource Manager."""
        return self.resource.calls(host_of(self.place.target), self.place.environ, self.place.limits)


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What the user wants of a deployment; what is `None` is decided here."""

    name: str | None = None
    kind: DeploymentKind | None = None
    capacity: int | None = None
    model: str | None = None
    most_seconds: float = 1800.0

    def wanted(self, state: TrainingState, model: str, deployable: str) -> WantedDeployment:
        """Return the deployment to make, or the one that was made of the same model before.

        `deployable` is the model's name in Resource Manager.
        """
        same = state.deployment is not None and state.deployment.model == deployable
        made = state.deployment if same else None
        kind = self.kind or kind_of(made.sku if made and made.sku else "developer")
        known = made.capacity if made and kind_of(made.sku).by_unit == kind.by_unit else 0
        chosen = {name for name in ("name", "kind", "capacity") if getattr(self, name) is not None}
        return WantedDeployment(
            self.name or (made.name if made else name_for(model)),
            deployable,
            kind,
            checked_capacity(kind, self.capacity or known or None),
            frozenset(chosen),
        )


@dataclass(frozen=True, slots=True)
class Prospect:
    """Whether a model that is not trained yet could be deployed. `problems` say why not."""

    wanted: WantedDeployment
    location: str
    may: bool | None
    left: int | None
    problems: Sequence[str]


async def prospect(
    resource: ResourceOptions, environ: Mapping[str, str], base: str, options: DeployOptions
) -> Prospect:
    """Return whether a model with this base could be deployed, by reading. Raises a `BatchscoreError`."""
    account = resource.required(None, environ)
    kind = options.kind or kind_of("developer")
    wanted = WantedDeployment("-", base, kind, checked_capacity(kind, options.capacity))
    async with resource.calls("", environ) as manager:
        facts = await look_at_account(manager, account)
        left = await read_room(manager, account, facts.location, wanted, base)
        may = await read_permission(manager, account)
    problems = [*([may_not(WRITE)] if may is False else []), *filter(None, [no_room(left, wanted)])]
    return Prospect(wanted, facts.location, may, left, problems)


@dataclass(frozen=True, slots=True)
class Ready:
    """A model that answers: by its `deployment`, or "" if it needs none. `note` is for people.

    `ours`: this folder has made the deployment.
    """

    state: TrainingState
    model: str
    deployment: str = ""
    sku: str = ""
    capacity: int = 0
    created_at: float = 0.0
    ends_at: float = 0.0
    ours: bool = True
    note: str = ""


async def deploy(
    folder: Path, options: DeployOptions, caller: Caller, agree: Callable[[Offer], bool]
) -> Ready | None:
    """Deploy the model of a folder and wait until it answers; `None` if the user does not agree."""
    with hold_folder(folder, "batchscore finetune deploy", caller.listen):
        state = require_state(folder)
        require_endpoint(state, caller.place.target, folder)
        require_own(state, folder)
        if options.model is None and not state.job.ended:
            async with caller.place.calls() as plane:
                state = await renewed(plane, folder, state)
        model = options.model or trained_model(state, folder)
        if options.model is None and state.results is None:
            caller.listen(
                "The results were not looked at, so this is the job's last model. To find out whether an "
                f"earlier checkpoint is better, run: {finetune_command('results', folder)}"
            )
        if not DIALECTS[state.dialect].needs_deployment:
            for name in ("name", "kind", "capacity"):
                if getattr(options, name) is not None:
                    caller.listen(f"{as_flag(name)} has no effect: at this service no deployment is needed")
            return await wait_for_model(state, model, folder, caller)
        account = caller.resource.required(state, caller.place.environ)
        async with (
            caller.place.calls() as plane,
            caller.manager() as manager,
        ):
            wanted = options.wanted(state, model, await deployable(plane, state, model))
            deployer = Deployer(
                manager,
                account,
                folder,
                state,
                wanted,
                agree,
                listen=caller.listen,
                most_seconds=options.most_seconds,
                clock=caller.clock,
            )
            use = await deployer.run()
            if use is None or use.deployed is None:
                return None
            made, ours = use.deployed, use.step is DeployStep.PROBE
            stays = deployer.stays(made if ours else None)

            async def wait(looks: int, what: str) -> None:
                await deployer.wait(looks, what, stays)

            try:
                await wait_for_answer(plane, caller.place.target, made.name, wait)
            except CallFailed as failure:
                raise error_of_call(failure, stays) from None
    record = deployer.state.deployment
    ends_at = record.ends_at if record is not None and ours else 0.0
    note = "" if ours else use.why
    return Ready(
        deployer.state, model, made.name, made.sku, made.capacity, made.created_at, ends_at, ours, note
    )


def trained_model(state: TrainingState, folder: Path) -> str:
    """Return the model of a folder; raises `InputError` if there is none yet."""
    if not state.model:
        status = state.job.status or "not created"
        if status in ENDED:
            again, results = finetune_command("start", folder, "--again"), finetune_command("results", folder)
            raise InputError(
                f"{folder} has no trained model: its job is {status}. To train again, run: {again}. To see "
                f"whether it kept a checkpoint, run: {results}"
            )
        command = finetune_command("watch" if state.job.id else "start", folder)
        raise InputError(f"{folder} has no trained model yet: its job is {status}. Run: {command}")
    if state.is_removed:
        raise InputError(f"The model {state.job.model} of {folder} was deleted.")
    return state.model


async def deployable(plane: ControlPlane, state: TrainingState, model: str) -> str:
    """Return the name by which Azure deploys a model: of a checkpoint, its id."""
    if model == state.job.model or not state.job.id:
        return model
    try:
        found = await checkpoints_of(plane, state.job.id)
    except NotThere:
        return model
    return next((each.id for each in found if model in {each.model, each.id}), model)


async def wait_for_model(state: TrainingState, model: str, folder: Path, caller: Caller) -> Ready:
    """Wait until a model that needs no deployment answers; raises `ServiceRefused` if none will."""
    begun = caller.clock()
    async with caller.place.calls() as plane:

        async def wait(looks: int, what: str) -> None:
            if caller.clock() - begun > MODEL_SECONDS:
                raise ServiceRefused(
                    f"{model} does not exist for this key, {MODEL_SECONDS / 60:.0f} minutes after it was "
                    "looked for first. Is the key of the organisation and the project that trained it?"
                )
            if looks == 1:
                await refuse_deleted(plane, state, model, folder, caller.clock())
                caller.listen(f"waiting for {what}: a new model may be unknown for some minutes")
            await plane.sleep(look_seconds(looks))

        await wait_for_answer(plane, caller.place.target, model, wait)
    return Ready(state, model)


async def refuse_deleted(
    plane: ControlPlane, state: TrainingState, model: str, folder: Path, now: float
) -> None:
    """Raise `ServiceRefused` if a model that does not answer was deleted, such as by a copy of its folder."""
    with suppress(CallFailed):
        job = await look_at_job(plane, state.job.id)
        if not await is_kept(plane, replace(job, trained_model=model), now):
            lists, again = finetune_command("list"), finetune_command("start", folder, "--again")
            raise ServiceRefused(
                f"{model} does not exist any more: it was deleted, perhaps through a copy of {folder}. "
                f"To see the models of this key, run: {lists}. To train it again, and pay again, run: {again}"
            )


async def inventory(folder: Path | None, caller: Caller) -> tuple[Inventory, TrainingDialect]:
    """Return what is at a service; of a folder only what it names. `notes` say what is not known."""
    state = None if folder is None else require_state(folder)
    if state is not None:
        require_endpoint(state, caller.place.target, folder)
    dialect = dialect_of(caller.place.target)
    account = caller.resource.account(state, caller.place.environ) if dialect.needs_deployment else None
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(caller.place.calls())
        manager: ControlPlane | None = None
        if account is not None:
            manager = await stack.enter_async_context(caller.manager())
        found = await take_inventory(
            plane, manager, account, caller.clock(), on_azure=dialect.needs_deployment
        )
    if dialect.needs_deployment and account is None:
        missing = "deployments are not listed: name the resource with --resource"
        found = replace(found, notes=(*found.notes, missing))
    return (found if state is None else found.of(state)), dialect


async def checkpoint_removals(plane: ControlPlane, state: TrainingState, folder: object) -> Sequence[Removal]:
    """Return the checkpoints of jobs that are models of their own, as at OpenAI, and are there.

    A new model is listed some minutes later than its checkpoints are. Until then, all of them count.
    """
    if DIALECTS[state.dialect].needs_deployment or not state.jobs:
        return ()
    gone = {"", *(job.model for job in state.jobs), *state.deleted}
    removals: list[Removal] = []
    listed: set[str] | None = None
    with suppress(CallFailed):
        listed = {each.id for each in await list_models(plane)}
    for job in state.jobs:
        is_new = listed is None or job.model not in {"", *listed, *state.deleted}
        with suppress(NotThere):
            blocked = blocked_by(job, state, folder)
            removals += [
                Removal(Thing.MODEL, each.model, "a checkpoint", blocked)
                for each in await checkpoints_of(plane, job.id)
                if each.model not in gone and (is_new or each.model in (listed or ()))
            ]
    return removals


async def clean(
    folder: Path | None,
    named: Named,
    caller: Caller,
    agree: Callable[[Sequence[Removal]], bool],
    *,
    discard_results: bool = False,
) -> tuple[Sequence[Removal], Sequence[Deletion]]:
    """Delete what a folder or the command names; return what was to be deleted, and what became of it.

    Nothing is deleted if `agree` says no.
    """
    hold = (
        nullcontext() if folder is None else hold_folder(folder, "batchscore finetune clean", caller.listen)
    )
    with hold:
        state = None if folder is None else require_state(folder)
        if state is not None:
            require_endpoint(state, caller.place.target, folder)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(caller.place.calls())
            if named or state is None or folder is None:
                removals = named.removals()
            else:
                state = await renewed(plane, folder, state)
                dialect = DIALECTS[state.dialect]
                removals = removals_of(state, dialect, folder, discard_results=discard_results)
                # Before their model: with it they may go by themselves.
                removals = [*await checkpoint_removals(plane, state, folder), *removals]
                removals.sort(key=lambda each: each.thing)
            if not removals or not agree(removals):
                return removals, ()
            account = caller.resource.account(state, caller.place.environ)
            if any(each.thing is Thing.DEPLOYMENT for each in removals):
                account = caller.resource.required(state, caller.place.environ)
            manager: ControlPlane | None = None
            if account is not None and dialect_of(caller.place.target).needs_deployment:
                manager = await stack.enter_async_context(caller.manager())
            cleaner = Cleaner(plane, manager, account, folder, state, caller.listen, caller.clock)
            return removals, await cleaner.run(removals)
