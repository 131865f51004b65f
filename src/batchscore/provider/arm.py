"""How are the deployments of an Azure OpenAI resource read, made and deleted by Azure Resource Manager?

Plain REST: five calls do not justify the library `azure-mgmt-cognitiveservices`. It knows no training and no
folder. A deployment is made by one `PUT`, which is never repeated here; reads are.

Facts of the field (the REST specification of Microsoft.CognitiveServices, seen 2026-11): a `PUT` with the
name of an existing deployment changes it. The state of a deployment is in the object itself, so `GET`
follows it whatever headers the first reply had. `DELETE` of what is missing is a success.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from batchscore.endpoint.credentials import token_credentials
from batchscore.endpoint.resource_manager import ResourceManager
from batchscore.errors import SettingsError
from batchscore.provider.batch_object import fields_of, moment, text_of, whole
from batchscore.provider.client import CalledService, CallPace, ControlPlane, NotThere, Unknown, open_service

#: Versions of the calls: of Microsoft.CognitiveServices, and of permissions.
API_VERSION = "2025-06-01"
PERMISSIONS_VERSION = "2022-04-01"

#: What making and deleting a deployment need.
WRITE = "Microsoft.CognitiveServices/accounts/deployments/write"
DELETE = "Microsoft.CognitiveServices/accounts/deployments/delete"

#: States that a deployment leaves by itself, in lower case; every other one but `succeeded` is a failure.
GOING = frozenset({"accepted", "creating", "updating", "moving", "running", ""})
DELETING, SUCCEEDED = "deleting", "succeeded"

#: Resource Manager lets an identity make 250 calls at once, and 25 a second.
CALLS_PER_SECOND = 20.0

#: Pages of a list at most.
MOST_PAGES = 100

_ACCOUNT = re.compile(
    r"/?subscriptions/(?P<subscription>[\w-]{1,64})/resourceGroups/(?P<group>(?!\.+/)[\w.()-]{1,90})"
    r"/providers/Microsoft\.CognitiveServices/accounts/(?P<name>[\w.-]{2,64})/?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Account:
    """An Azure OpenAI or Foundry resource, by the parts of its ID."""

    subscription: str
    group: str
    name: str

    @property
    def id(self) -> str:
        """Its ID in Resource Manager."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.CognitiveServices/accounts/{self.name}"
        )

    def is_at(self, given: str) -> bool:
        """Whether an ID is of this resource; letters may be large or small."""
        return self.id.lower() == given.lower()

    def deployment_id(self, name: str) -> str:
        """Return the ID of a deployment."""
        return f"{self.id}/deployments/{quote(name, safe='')}"

    def location_id(self, location: str) -> str:
        """Return the ID of a region in its subscription."""
        provider = f"/subscriptions/{self.subscription}/providers/Microsoft.CognitiveServices"
        return f"{provider}/locations/{quote(location, safe='')}"


def account_of(given: str) -> Account:
    """Return the resource of an ID; raises `SettingsError`."""
    found = _ACCOUNT.fullmatch(given.strip())
    if found is None:
        raise SettingsError(
            "--resource is not the ID of an Azure OpenAI resource: /subscriptions/…/resourceGroups/…/"
            "providers/Microsoft.CognitiveServices/accounts/NAME. It is on the page of the resource in the "
            "portal (JSON view), and `az cognitiveservices account show` prints it."
        )
    return Account(found["subscription"], found["group"], found["name"])


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What Resource Manager says of an account. `hosts` are those of its endpoints, in lower case."""

    location: str
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment as it is now. `state` is in lower case. `created_at`: seconds since 1970, 0 if unknown.

    `problem` is the service's code of its failure, if it says one.
    """

    name: str
    state: str
    model: str
    sku: str
    capacity: int
    created_at: float
    tags: Mapping[str, str]
    problem: str = ""

    def is_same_as(self, other: Deployed) -> bool:
        """Whether this is a later look at the same deployment, and not at another one of its name."""
        times, models = {self.created_at, other.created_at} - {0.0}, {self.model, other.model} - {""}
        return len(times) < 2 and len(models) < 2


@dataclass(frozen=True, slots=True)
class CapacityLeft:
    """What is left of a quota, in units of capacity. `name` is that of the quota, or a kind of deployment."""

    name: str
    left: int


@asynccontextmanager
async def open_arm(
    manager: ResourceManager, environ: Mapping[str, str], pace: CallPace
) -> AsyncIterator[ControlPlane]:
    """Give the calls to Resource Manager, open while the block runs."""
    signed = token_credentials(manager.scope, environ)
    service = CalledService(manager.url, {}, {}, signed)
    async with open_service(service, replace(pace, calls_per_second=CALLS_PER_SECOND)) as plane:
        yield plane


def signed_options(headers: Mapping[str, str], **query: str) -> Any:
    """Return the options of a call: its headers, and the version of the API unless the query has another."""
    return {"headers": headers, "params": {"api-version": API_VERSION, **query}}


async def get(plane: ControlPlane, path: str, what: str, **query: str) -> Mapping[str, Any]:
    """Return an object; raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> Mapping[str, Any]:
        found = await plane.client.get(path, cast_to=object, options=signed_options(headers, **query))
        if not isinstance(found, Mapping):
            raise Unknown(what, why="the reply is not an object")
        return found

    return await plane.repeat(what, call)


async def get_all(plane: ControlPlane, path: str, what: str, **query: str) -> Sequence[Mapping[str, Any]]:
    """Return the objects of all pages of a list; raises `CallFailed`."""
    found: list[Mapping[str, Any]] = []
    for _ in range(MOST_PAGES):
        page = await get(plane, path, what, **query)
        values = page.get("value")
        found += [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []
        following = text_of(page.get("nextLink"))
        if not following:
            break
        path, query = next_page(following, str(plane.client.base_url), what)
    return found


def next_page(link: str, base: str, what: str) -> tuple[str, dict[str, str]]:
    """Return the path and the query of a further page; raises `Unknown` if it is on another host."""
    split, ours = urlsplit(link), urlsplit(base)
    if (split.scheme, split.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
        # The token must not go there.
        raise Unknown(what, why="its next page is on another host")
    return split.path, dict(parse_qsl(split.query))


async def look_at_account(plane: ControlPlane, account: Account) -> AccountFacts:
    """Return where an account is; raises `CallFailed`."""
    found = await get(plane, account.id, "the look at the resource")
    inner = fields_of(found.get("properties"))
    named = fields_of(inner.get("endpoints"))
    addresses = [inner.get("endpoint"), *named.values()]
    hosts = {urlsplit(text_of(each)).netloc.lower() for each in addresses}
    return AccountFacts(text_of(found.get("location")), frozenset(hosts - {""}))


async def look(plane: ControlPlane, account: Account, name: str) -> Deployed | None:
    """Return a deployment, `None` if the account is there and has none of this name; raises `CallFailed`."""
    try:
        return deployed(await get(plane, account.deployment_id(name), "the look at the deployment"))
    except NotThere:
        # A wrong account has no deployments either.
        await look_at_account(plane, account)
        return None


async def list_deployments(plane: ControlPlane, account: Account) -> Sequence[Deployed]:
    """Return all deployments of an account; raises `CallFailed`."""
    found = await get_all(plane, f"{account.id}/deployments", "the list of deployments")
    return [deployed(each) for each in found]


async def create(plane: ControlPlane, account: Account, name: str, body: Mapping[str, Any]) -> Deployed:
    """Make a deployment, by one call that is not repeated. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> Deployed:
        options, path = signed_options(headers), account.deployment_id(name)
        return deployed(await plane.client.put(path, cast_to=object, body=dict(body), options=options))

    return await plane.once("the creation of the deployment", call)


async def delete(plane: ControlPlane, account: Account, found: Deployed) -> None:
    """Begin to delete a deployment that was read, by one call; that it is gone is fine. Raises `CallFailed`.

    A name does not say whose it is: one that was removed may have been made again by others.
    """

    async def call(headers: Mapping[str, str]) -> None:
        options, path = signed_options(headers), account.deployment_id(found.name)
        await plane.client.delete(path, cast_to=type(None), options=options)

    try:
        await plane.once("the deletion of the deployment", call)
    except NotThere:
        return


def deployed(found: object) -> Deployed:
    """Return a deployment as its object says; raises `Unknown` if the reply was something else."""
    given = fields_of(found)
    inner, sku = fields_of(given.get("properties")), fields_of(given.get("sku"))
    name = text_of(given.get("name")) or text_of(given.get("id")).rpartition("/")[2]
    if not name:
        raise Unknown("the look at the deployment", why="the reply is not a deployment")
    tags = {str(key): text_of(value) for key, value in fields_of(given.get("tags")).items()}
    return Deployed(
        name=name,
        state=text_of(inner.get("provisioningState")).lower(),
        model=text_of(fields_of(inner.get("model")).get("name")),
        sku=text_of(sku.get("name")),
        capacity=whole(sku.get("capacity")),
        created_at=moment(fields_of(given.get("systemData")).get("createdAt")) or 0.0,
        tags=tags,
        problem=text_of(fields_of(inner.get("error")).get("code")),
    )


async def model_format(plane: ControlPlane, account: Account, names: Sequence[str]) -> str:
    """Return the format of the first of these models that an account lists, "" if it lists none.

    An open model has the format of its provider, and a wrong one is a failure of the service. Raises
    `CallFailed`.
    """
    listed = await get_all(plane, f"{account.id}/models", "the list of models")
    found = {text_of(each.get("name")): text_of(each.get("format")) for each in listed}
    return next((found[name] for name in names if found.get(name)), "")


async def may_write(plane: ControlPlane, account: Account) -> bool:
    """Whether this identity may make deployments in an account; raises `CallFailed` if nobody says."""
    found = await get_all(
        plane,
        f"{account.id}/providers/Microsoft.Authorization/permissions",
        "the look at permissions",
        **{"api-version": PERMISSIONS_VERSION},
    )
    return any(permits(each, WRITE) for each in found)


def permits(permission: Mapping[str, Any], action: str) -> bool:
    """Whether one entry of a list of permissions allows an action."""
    allowed, denied = ([*map(text_of, permission.get(name) or ())] for name in ("actions", "notActions"))
    return matches(allowed, action) and not matches(denied, action)


def matches(patterns: Sequence[str], action: str) -> bool:
    """Whether a pattern of actions such as `Microsoft.CognitiveServices/*/read` holds an action."""
    return any(fnmatch.fnmatchcase(action.lower(), each.lower().replace("[", "[[]")) for each in patterns)


async def capacity_left(
    plane: ControlPlane, account: Account, location: str, model: str, version: str
) -> Sequence[CapacityLeft]:
    """Return what can still be deployed of a customised model in a region, for each kind of deployment.

    `model` and `version` are those of its base. Raises `CallFailed`.
    """
    base = {"modelFormat": "OpenAI", "modelName": model, "modelVersion": version}
    path = f"{account.location_id(location)}/modelCapacities"
    found = await get_all(plane, path, "the look at capacities", **base)
    lefts = []
    for each in found:
        inner = fields_of(each.get("properties"))
        left = inner.get("availableFinetuneCapacity")
        if isinstance(left, (int, float)) and not isinstance(left, bool):
            lefts.append(CapacityLeft(text_of(inner.get("skuName")), int(left)))
    return lefts


async def quotas_left(plane: ControlPlane, account: Account, location: str) -> Sequence[CapacityLeft]:
    """Return what is left of all quotas of a subscription in a region; raises `CallFailed`."""
    found = await get_all(plane, f"{account.location_id(location)}/usages", "the look at quotas")
    quotas = []
    for each in found:
        name, limit, used = fields_of(each.get("name")), each.get("limit"), each.get("currentValue")
        if isinstance(limit, (int, float)) and isinstance(used, (int, float)):
            quotas.append(CapacityLeft(text_of(name.get("value")), int(limit - used)))
    return quotas
