"""Which errors does Azure's management send?

It must not know deployments: another module finds the error, this one words it.
Texts: reports of users (issues of Azure-Samples and openai-dotnet) and Azure's reference, seen 2026-11.
"""

from __future__ import annotations

import orjson

from batchscore.simulator.error_replies import Rejection, ServiceReply

#: How a quota is called.
QUOTA = "Tokens Per Minute (thousands)"
_DEPLOYMENTS = "Microsoft.CognitiveServices/accounts/deployments"


def arm_error(status: int, code: str, message: str) -> Rejection:
    """Return a rejection in the shape of the management."""
    return Rejection(ServiceReply(status, orjson.dumps({"error": {"code": code, "message": message}})))


def no_version() -> ServiceReply:
    """Return the reply to a request without `api-version`."""
    message = "The api-version query parameter (?api-version=) is required for all requests."
    return arm_error(400, "MissingApiVersionParameter", message).reply


def no_token(*, presented: str | None) -> ServiceReply:
    """Return the reply to a request without a token for the management."""
    if presented != "bearer":
        message = "Authentication failed. The 'Authorization' header is missing."
        return arm_error(401, "AuthenticationFailed", message).reply
    message = (
        "The access token has been obtained for wrong audience or resource. It should exactly match one of"
        " the allowed audiences 'https://management.core.windows.net/', 'https://management.azure.com/'."
    )
    return arm_error(401, "InvalidAuthenticationTokenAudience", message).reply


def not_allowed(action: str, scope: str) -> Rejection:
    """Return the rejection of an identity whose role lacks an action."""
    message = (
        "The client 'simulator' with object id '00000000-0000-0000-0000-00000000000a' does not have"
        f" authorization to perform action '{_DEPLOYMENTS}/{action}' over scope '{scope}' or the scope is"
        " invalid. If access was recently granted, please refresh your credentials."
    )
    return arm_error(403, "AuthorizationFailed", message)


def not_found(kind: str, name: str) -> Rejection:
    """Return the rejection of a subscription, group or resource that is not there."""
    messages = {
        "Subscription": f"The subscription '{name}' could not be found.",
        "ResourceGroup": f"Resource group '{name}' could not be found.",
        "Resource": f"The Resource '{name}' was not found.",
    }
    return arm_error(404, f"{kind}NotFound", messages[kind])


def busy(account: str) -> Rejection:
    """Return the rejection while the account works on another deployment."""
    message = (
        f"Another operation is being performed on the parent resource '{account}'. Please try again later."
    )
    return arm_error(409, "RequestConflict", message)


def no_quota(needed: int, usage: str, used: int, limit: int) -> Rejection:
    """Return the rejection of a deployment that needs more than what is left."""
    quota = f"{QUOTA} - {usage.split('.', 2)[2]}"
    message = (
        f"This operation require {needed} new capacity in quota {quota}, which is bigger than the current"
        f" available capacity {max(0, limit - used)}. The current quota usage is {used} and the quota limit"
        f" is {limit} for quota {quota}."
    )
    return arm_error(400, "InsufficientQuota", message)
