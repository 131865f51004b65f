"""Which error bodies does the service send, on each of its URL surfaces?

It must not know requests nor limits: another module finds the error, this one words it.
Texts and shapes are those found in public reports of the services (issues of openai-python, litellm,
langchain and Azure-Samples, read in 2026) and in the services' reference pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

#: The content filter's results by category, and that of one that it refuses.
SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
FILTERED = {"filtered": True, "severity": "medium"}
REFERENCE = "Please check the API reference: https://platform.openai.com/docs/api-reference."


class Surface(Enum):
    """The three ways to address a model."""

    AZURE = "/openai/deployments/{deployment}"
    AZURE_V1 = "/openai/v1"
    OPENAI = "/v1"


class ServiceReply(NamedTuple):
    """A whole reply. `tokens` counts the billed tokens: with `output_tokens`, which include the others."""

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Rejection(Exception):  # noqa: N818 - no failure of the simulator
    """The service does not accept a request; `reply` says why."""

    def __init__(self, reply: ServiceReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def _error(status: int, /, **error: Any) -> ServiceReply:
    return ServiceReply(status, orjson.dumps({"error": error}))


def _azure_error(status: int, code: str, message: str) -> ServiceReply:
    """Return an error in the shape of Azure's own front end."""
    return _error(status, code=code, message=message)


def invalid_request(
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    status: int = 400,
    kind: str | None = "invalid_request_error",
) -> ServiceReply:
    """Return an error in the shape of the model behind both services."""
    return _error(status, message=message, type=kind, param=param, code=code)


def unsupported_value(name: str, value: Any, supported: Sequence[str], last: str = ", ") -> ServiceReply:
    """Return the reply to a value that a parameter does not have; `last` joins the last supported one."""
    *others, end = [f"'{each}'" for each in supported]
    shown = ", ".join(others) + (last if others else "") + end
    text = f"Invalid value: '{value}'. Supported values are: {shown}."
    return invalid_request(text, param=name, code="invalid_value")


def missing(name: str, param: str = "") -> ServiceReply:
    """Return the reply to a request without a parameter."""
    text = f"Missing required parameter: '{name}'."
    return invalid_request(text, param=param or name, code="missing_required_parameter")


def empty_array(name: str) -> ServiceReply:
    """Return the reply to an array without elements."""
    text = "empty array. Expected an array with minimum length 1, but got an empty array instead."
    return invalid_request(f"Invalid '{name}': {text}", param=name, code="empty_array")


def resource_not_found() -> ServiceReply:
    """Return Azure's reply to an unknown URL or one without `api-version`."""
    return _azure_error(404, "404", "Resource not found")


def unknown_url(method: str, path: str) -> ServiceReply:
    """Return OpenAI's reply to an unknown URL."""
    return invalid_request(f"Invalid URL ({method} {path})", status=404)


def unauthorized(surface: Surface, *, presented: str | None) -> ServiceReply:
    """Return the reply to a wrong key or token. `presented` is "key", "bearer" or None."""
    if surface is Surface.OPENAI:
        if presented is None:
            return invalid_request(
                "You didn't provide an API key. You need to provide your API key in an Authorization header"
                " using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        return invalid_request("Incorrect API key provided.", code="invalid_api_key", status=401)
    if presented == "bearer":
        return _azure_error(
            401,
            "Unauthorized",
            "Unauthorized. Access token is missing, invalid, audience is incorrect"
            " (https://cognitiveservices.azure.com), or have expired.",
        )
    return _azure_error(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid"
        " key for an active subscription and use a correct regional API endpoint for your resource.",
    )


def deployment_not_found(surface: Surface, name: str) -> ServiceReply:
    """Return the reply to an unknown model or deployment."""
    if surface is Surface.OPENAI:
        return invalid_request(
            f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
            status=404,
        )
    return _azure_error(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last"
        " 5 minutes, please wait a moment and try again.",
    )


def rate_limited(surface: Surface, name: str, *, operation: str, limit: str, seconds: float) -> ServiceReply:
    """Return the reply to a request over the limit of "tokens" or "requests" per minute."""
    whole = max(1, round(seconds + 0.5))
    if surface is Surface.OPENAI:
        unit = "tokens per min (TPM)" if limit == "tokens" else "requests per min (RPM)"
        return invalid_request(
            f"Rate limit reached for {name} in organization org-simulator on {unit}."
            f" Please try again in {whole}s.",
            code="rate_limit_exceeded",
            status=429,
            kind=limit,
        )
    counted = "token" if limit == "tokens" else "call"
    if surface is Surface.AZURE_V1:
        return _azure_error(
            429,
            "RateLimitReached",
            f"Your requests to {name} in simulator have exceeded the {counted} rate limit for your current"
            f" AIServices S0 pricing tier. Please retry after {whole} seconds.",
        )
    return _azure_error(
        429,
        "429",
        f"Requests to the {operation} Operation under Azure OpenAI API have exceeded {counted} rate limit of"
        f" your current OpenAI S0 pricing tier. Please retry after {whole} seconds. Please go here:"
        " https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
    )


#: Status -> (Azure's code, OpenAI's type, OpenAI's code, message), if no more specific error is known.
_DEFAULT_ERRORS: dict[int, tuple[str, str, str | None, str]] = {
    400: ("BadRequest", "invalid_request_error", None, "Invalid request."),
    401: ("401", "invalid_request_error", "invalid_api_key", "Access denied."),
    403: ("403", "invalid_request_error", None, "Access denied due to Virtual Network/Firewall rules."),
    404: ("DeploymentNotFound", "invalid_request_error", "model_not_found", "The model does not exist."),
    408: ("Timeout", "timeout", None, "The operation was timeout."),
    409: ("Conflict", "invalid_request_error", None, "The resource is being changed. Please retry."),
    413: ("RequestEntityTooLarge", "invalid_request_error", None, "The request is too large."),
    422: ("UnprocessableEntity", "invalid_request_error", None, "The request cannot be processed."),
    429: ("429", "requests", "rate_limit_exceeded", "Rate limit is exceeded. Please retry later."),
    500: ("InternalServerError", "server_error", None, "The server had an error processing your request."),
    502: ("BadGateway", "server_error", None, "Bad gateway."),
    503: ("ServiceUnavailable", "server_error", None, "The server is overloaded. Please retry later."),
    504: ("GatewayTimeout", "server_error", None, "The gateway timed out."),
}


def default_error(
    surface: Surface, status: int, *, code: str | None = None, message: str | None = None
) -> ServiceReply:
    """Return the service's error for a status, with `code` and `message` in it if given."""
    other = ("Unknown", "api_error", None, f"The service answered {status}.")
    azure_code, kind, openai_code, text = _DEFAULT_ERRORS.get(status, other)
    if surface is Surface.OPENAI:
        return invalid_request(message or text, code=code or openai_code, status=status, kind=kind)
    return _azure_error(status, code or azure_code, message or text)


def batch_deployment(name: str) -> ServiceReply:
    """Return Azure's reply to a live call of a deployment that is for batches."""
    message = (
        f"The operation does not work with the specified model, {name}. Please choose different model and try"
        " again."
    )
    return _azure_error(400, "OperationNotSupported", message)


def content_filtered(surface: Surface) -> ServiceReply:
    """Return the reply to a prompt that the content filter refuses."""
    message = (
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        " Please modify your prompt and retry. To learn more about our content filtering policies please"
        " read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
    )
    if surface is Surface.OPENAI:
        return invalid_request(message, param="prompt", code="content_filter")
    result = {**SAFE, "jailbreak": {"filtered": False, "detected": False}, "violence": FILTERED}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    fixed = {"type": None, "param": "prompt", "code": "content_filter", "status": 400}
    return _error(400, message=message, **fixed, innererror=inner)


def unknown_parameter(surface: Surface, operation: str, name: str) -> ServiceReply:
    """Return the reply to a parameter that the operation does not have."""
    if operation in {"chat/completions", "responses"} and surface is not Surface.AZURE:
        return invalid_request(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    return invalid_request(f"Unrecognized request argument supplied: {name}")


def too_many_elements(name: str, limit: int, length: int) -> ServiceReply:
    """Return the reply to an array with more elements than the limit."""
    return invalid_request(
        f"Invalid '{name}': array too long. Expected an array with maximum length {limit}, but got an array"
        f" with length {length} instead.",
        param=name,
        code="array_above_max_length",
    )


def wrong_type(name: str, expected: str, value: Any) -> ServiceReply:
    """Return the reply to a parameter of the wrong JSON type."""
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a decimal", list: "an array"}
    got = "null" if value is None else names.get(type(value), "an object")
    return invalid_request(
        f"Invalid type for '{name}': expected {expected}, but got {got} instead.",
        param=name,
        code="invalid_type",
    )
