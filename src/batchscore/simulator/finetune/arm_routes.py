"""Which calls of Azure's management are there, and what is the reply?

It must not know how a deployment proceeds. A project has one account, which has these calls.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from batchscore.simulator.batch.calls import Authenticate, Call, Door, Outcome, json_reply
from batchscore.simulator.batch.projects import Project
from batchscore.simulator.error_replies import ServiceReply, Surface
from batchscore.simulator.finetune import arm_errors
from batchscore.simulator.finetune.arm_errors import arm_error
from batchscore.simulator.finetune.arm_lists import account_models, capacities, iso_time, usages
from batchscore.simulator.finetune.deployments import SKUS, AccountDeployment, Wanted
from batchscore.simulator.finetune.models import base_model

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = ACCOUNT = "simulator"
LOCATION = "swedencentral"
_PROVIDER = "providers/Microsoft.CognitiveServices"
#: The only account of a project.
ACCOUNT_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/{_PROVIDER}/accounts/{ACCOUNT}"
_IN_SUBSCRIPTION = "/subscriptions/{subscription}/" + _PROVIDER
_IN_ACCOUNT = (
    "/subscriptions/{subscription}/{groups:(?i:resourceGroups)}/{group}/" + _PROVIDER + "/accounts/{account}"
)
_IN_LOCATION = _IN_SUBSCRIPTION + "/locations/{location}"
_PERMISSIONS = _IN_ACCOUNT + "/providers/Microsoft.Authorization/permissions"
_DEPLOYMENT = _IN_ACCOUNT + "/deployments/{name}"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}")

_ArmAct: TypeAlias = Callable[[Project, web.Request], Awaitable[ServiceReply]]


def arm_door(authenticate: Authenticate) -> Door:
    """Return the door to the management."""
    return Door(Surface.AZURE, "", authenticate, arm_errors.no_token, arm_errors.no_version())


async def _within(project: Project, request: web.Request, _: Surface, *, act: _ArmAct) -> Outcome:
    """Act if the subscription, the group and the account of the path are there."""
    given = request.match_info
    project.tuning.step()
    if given["subscription"].lower() != SUBSCRIPTION:
        raise arm_errors.not_found("Subscription", given["subscription"])
    if given.get("group", GROUP).lower() != GROUP:
        raise arm_errors.not_found("ResourceGroup", given["group"])
    if given.get("account", ACCOUNT).lower() != ACCOUNT:
        resource = f"Microsoft.CognitiveServices/accounts/{given['account']}' under resource group '{GROUP}"
        raise arm_errors.not_found("Resource", resource)
    return await act(project, request)


def _call(method: str, path: str, name: str, act: _ArmAct) -> Call:
    return Call(method, path, name, partial(_within, act=act))


async def _put(project: Project, request: web.Request) -> ServiceReply:
    tuning, name = project.tuning, request.match_info["name"]
    if not tuning.rules.may_deploy:
        raise arm_errors.not_allowed("write", f"{ACCOUNT_ID}/deployments/{name}")
    wanted = _wanted(await request.read(), name)
    _check_wanted(project, name, wanted)
    made, is_new = tuning.deployments.put(name, wanted)
    headers = _poll_headers(project, request, made)
    return json_reply(_object(project, made), 201 if is_new else 200, **headers)


def _wanted(raw: bytes, name: str) -> Wanted:
    """Return what a deployment shall be; raises `Rejection` for a wrong body."""
    if not _NAME.fullmatch(name):
        raise arm_error(400, "InvalidResourceName", f"The deployment name '{name}' is invalid.")
    try:
        body = orjson.loads(raw)
        model, sku = body["properties"]["model"], body["sku"]
        kind = SKUS.get(str(sku["name"]).lower())
        capacity = sku.get("capacity", 1)
        if kind is None:
            raise arm_error(400, "InvalidResourceProperties", f"The sku '{sku['name']}' is not supported.")
        if type(capacity) is not int or capacity < 1:
            raise arm_error(400, "InvalidResourceProperties", "The capacity must be at least 1.")
        tags = {str(name): str(value) for name, value in (body.get("tags") or {}).items()}
        return Wanted(str(model["name"]), model.get("version"), str(model["format"]), kind, capacity, tags)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message = "The request content was invalid and could not be deserialized."
        raise arm_error(400, "InvalidRequestContent", message) from None


def _check_wanted(project: Project, name: str, wanted: Wanted) -> None:
    """Raise `Rejection` for a deployment that cannot be made."""
    tuning = project.tuning
    deployments, rules = tuning.deployments, tuning.rules
    shown = f"Format: {wanted.format}, Name: {wanted.model}, Version: {wanted.version}"
    tuned = tuning.models.tuned(wanted.model)
    if wanted.format != "OpenAI":
        # It happens with a wrong provider's name.
        raise arm_error(500, "InternalServerError", "An internal server error occurred.")
    if (tuned is None and base_model(wanted.model) is None) or (tuned and not tuning.sees(tuned)):
        message = f"The model '{shown}' of account deployment is not supported."
        raise arm_error(400, "DeploymentModelNotSupported", message)
    if project.clock.now() >= tuning.models.answers_until(rules):
        message = f"The model '{shown}' has been deprecated and cannot be deployed."
        raise arm_error(400, "ServiceModelDeprecated", message)
    if rules.one_at_a_time and deployments.busy(name):
        raise arm_errors.busy(ACCOUNT_ID)
    others = [one for one in deployments.all() if one.name != name and one.tuned]
    if tuned and any(one.wanted.model == wanted.model for one in others):
        message = "Only one deployment can be made per model name and version."
        raise arm_error(400, "InvalidResourceProperties", message)
    if tuned and len(others) >= rules.max_deployments:
        message = f"The account has {rules.max_deployments} deployments of tuned models, the limit."
        raise arm_error(400, "DeploymentLimitReached", message)
    usage = deployments.usage_name(wanted.model, wanted.sku)
    used = deployments.used(usage, besides=name)
    if used + wanted.capacity > rules.quota:
        raise arm_errors.no_quota(wanted.capacity, usage, used, rules.quota)


def _poll_headers(project: Project, request: web.Request, one: AccountDeployment) -> dict[str, str]:
    """Return the headers by which a client follows a change: the style is a rule."""
    rules = project.tuning.rules
    headers = {"retry-after": f"{rules.poll_after:g}"} if rules.poll_after else {}
    if not rules.poll_header:
        return headers
    base = f"{request.url.origin()}/subscriptions/{SUBSCRIPTION}/{_PROVIDER}/locations/{LOCATION}"
    version = request.query["api-version"]
    style, name = {
        "operation": ("azure-asyncoperation", "operations"),
        "location": ("location", "operationResults"),
    }[rules.poll_header]
    return {**headers, style: f"{base}/{name}/{one.name}?api-version={version}"}


async def _get(project: Project, request: web.Request) -> ServiceReply:
    name = request.match_info["name"]
    found = project.tuning.deployments.get(name)
    if found is None:
        resource = f"Microsoft.CognitiveServices/accounts/{ACCOUNT}/deployments/{name}"
        raise arm_errors.not_found("Resource", resource)
    return json_reply(_object(project, found))


async def _delete(project: Project, request: web.Request) -> ServiceReply:
    tuning, name = project.tuning, request.match_info["name"]
    if not tuning.rules.may_deploy:
        raise arm_errors.not_allowed("delete", f"{ACCOUNT_ID}/deployments/{name}")
    found = tuning.deployments.get(name)
    if found is None:
        return ServiceReply(204, b"")
    if tuning.rules.one_at_a_time and found.deleted_at is None and tuning.deployments.busy(name):
        raise arm_errors.busy(ACCOUNT_ID)
    tuning.deployments.delete(found)
    if tuning.deployments.get(name) is None:
        return ServiceReply(200, b"")
    return ServiceReply(202, b"", _poll_headers(project, request, found))


async def _list(project: Project, request: web.Request) -> ServiceReply:
    return _page(project, request, [_object(project, one) for one in project.tuning.deployments.all()])


def _page(project: Project, request: web.Request, values: list[dict[str, Any]]) -> ServiceReply:
    """Return the values of a list, and where the rest is."""
    token, length = request.query.get("$skiptoken", "0"), project.tuning.rules.page
    if not token.isdecimal():
        raise arm_error(400, "InvalidQueryParameter", "The skip token is invalid.")
    start = int(token)
    shown: dict[str, Any] = {"value": values[start : start + length]}
    if start + length < len(values):
        shown["nextLink"] = str(request.url.update_query({"$skiptoken": str(start + length)}))
    return json_reply(shown)


async def _operation(project: Project, request: web.Request) -> ServiceReply:
    """Answer with the progress of a change: as a status, or as the resource once it is there."""
    found = project.tuning.deployments.get(request.match_info["name"])
    state = "" if found is None else found.state(project.clock.now(), project.tuning.rules)
    goes_on = state in {"Accepted", "Creating", "Deleting"}
    if "operationResults" in request.path:
        if goes_on:
            return ServiceReply(202, b"", {"location": str(request.url)})
        return ServiceReply(204, b"") if found is None else json_reply(_object(project, found))
    status = "InProgress" if goes_on else "Succeeded" if found is None else state
    return json_reply({"id": request.path, "name": request.match_info["name"], "status": status})


def _object(project: Project, one: AccountDeployment) -> dict[str, Any]:
    """Return a deployment as the management shows it."""
    rules, wanted = project.tuning.rules, one.wanted
    state = one.state(project.clock.now(), rules)
    limits = [("request", wanted.capacity), ("token", wanted.capacity * 1000)]
    return {
        "id": f"{ACCOUNT_ID}/deployments/{one.name}",
        "type": "Microsoft.CognitiveServices/accounts/deployments",
        "name": one.name,
        "sku": {"name": wanted.sku, "capacity": wanted.capacity},
        "properties": {
            "model": {"format": wanted.format, "name": wanted.model, "version": wanted.version or "1"},
            "versionUpgradeOption": "NoAutoUpgrade",
            "currentCapacity": wanted.capacity,
            "capabilities": {"chatCompletion": "true"},
            "provisioningState": state,
            "rateLimits": [{"key": key, "renewalPeriod": 60, "count": count} for key, count in limits],
        },
        "systemData": {
            "createdBy": "simulator",
            "createdByType": "User",
            "createdAt": iso_time(one.created_at),
            "lastModifiedBy": "simulator",
            "lastModifiedByType": "User",
            "lastModifiedAt": iso_time(one.changed_at),
        },
        "etag": f'"{one.etag}"',
        **({"tags": dict(wanted.tags)} if wanted.tags else {}),
    }


def _account(request: web.Request) -> dict[str, Any]:
    return {
        "id": ACCOUNT_ID,
        "name": ACCOUNT,
        "type": "Microsoft.CognitiveServices/accounts",
        "location": LOCATION,
        "kind": "OpenAI",
        "sku": {"name": "S0"},
        "properties": {
            "endpoint": f"{request.url.origin()}/",
            "provisioningState": "Succeeded",
            "customSubDomainName": ACCOUNT,
            "publicNetworkAccess": "Enabled",
            "endpoints": {"OpenAI Language Model Instance API": f"{request.url.origin()}/"},
        },
    }


async def _get_account(_: Project, request: web.Request) -> ServiceReply:
    return json_reply(_account(request))


async def _list_accounts(_: Project, request: web.Request) -> ServiceReply:
    return json_reply({"value": [_account(request)]})


async def _list_models(project: Project, request: web.Request) -> ServiceReply:
    return _page(project, request, account_models(project.tuning))


async def _list_usages(project: Project, request: web.Request) -> ServiceReply:
    return _page(project, request, usages(project.tuning))


async def _list_capacities(project: Project, request: web.Request) -> ServiceReply:
    name = request.query.get("modelName")
    if name is None:
        raise arm_error(400, "InvalidQueryParameter", "The query parameter modelName is required.")
    found = capacities(project.tuning, name, request.query.get("modelVersion", "1"))
    place = f"/subscriptions/{SUBSCRIPTION}/{_PROVIDER}/locations/{LOCATION}/modelCapacities"
    kind = "Microsoft.CognitiveServices/locations/modelCapacities"
    shown = [{"id": f"{place}/{one['name']}", "type": kind, "location": LOCATION, **one} for one in found]
    return _page(project, request, shown)


async def _permissions(project: Project, _: web.Request) -> ServiceReply:
    may = project.tuning.rules.may_deploy
    actions = ["Microsoft.CognitiveServices/*"] if may else ["Microsoft.CognitiveServices/*/read"]
    data = ["Microsoft.CognitiveServices/accounts/OpenAI/*"]
    one = {"actions": actions, "notActions": [], "dataActions": data, "notDataActions": []}
    return json_reply({"value": [one], "nextLink": None})


#: All calls of the management.
ARM_CALLS = (
    _call("PUT", _DEPLOYMENT, "put_deployment", _put),
    _call("GET", _DEPLOYMENT, "get_deployment", _get),
    _call("DELETE", _DEPLOYMENT, "delete_deployment", _delete),
    _call("GET", _IN_ACCOUNT + "/deployments", "list_deployments", _list),
    _call("GET", _IN_ACCOUNT, "get_account", _get_account),
    _call("GET", _IN_SUBSCRIPTION + "/accounts", "list_accounts", _list_accounts),
    _call("GET", _IN_ACCOUNT + "/models", "list_account_models", _list_models),
    _call("GET", _IN_ACCOUNT + "/usages", "list_usages", _list_usages),
    _call("GET", _IN_LOCATION + "/usages", "list_usages", _list_usages),
    _call("GET", _IN_LOCATION + "/modelCapacities", "list_capacities", _list_capacities),
    _call("GET", _IN_SUBSCRIPTION + "/modelCapacities", "list_capacities", _list_capacities),
    _call("GET", _PERMISSIONS, "get_permissions", _permissions),
    *(
        _call("GET", f"{_IN_LOCATION}/{kind}/{{name}}", "get_deployment", _operation)
        for kind in ("operations", "operationResults")
    ),
)
