"""Which error bodies does the Batch API send?

It must not know files nor batches: another module finds the error, this one words it.
"""

from __future__ import annotations

from batchscore.simulator.error_replies import Rejection, Surface, default_error, invalid_request

#: Where files and batches are on each surface; with a dated version they are not below a deployment.
PREFIXES = {Surface.AZURE: "/openai", Surface.AZURE_V1: "/openai/v1", Surface.OPENAI: "/v1"}


def refused(
    surface: Surface, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
) -> Rejection:
    """Return a rejection in the words of a surface. `param` names what is wrong with the request."""
    if surface is Surface.OPENAI:
        return Rejection(invalid_request(message, param=param, code=code, status=status))
    azure_code = {400: "invalidPayload", 404: "resourceNotFound", 409: "conflict"}.get(status)
    return Rejection(default_error(surface, status, code=code or azure_code, message=message))


def no_file(surface: Surface, identifier: str, *, param: str = "id") -> Rejection:
    """Return the rejection of an unknown file."""
    return refused(surface, f"No such File object: {identifier}", param=param, status=404)


def missing_parameter(surface: Surface, name: str) -> Rejection:
    """Return the rejection of a request without a parameter that it needs."""
    message = f"Missing required parameter: '{name}'."
    return refused(surface, message, param=name, code="missing_required_parameter")


def expiry_seconds(surface: Surface, name: str, policy: object) -> int | None:
    """Return after how many seconds a file expires by a policy, if there is one; raises `Rejection`."""
    if policy is None:
        return None
    given = policy if isinstance(policy, dict) else {}
    anchor, seconds = given.get("anchor"), given.get("seconds")
    low = 3600 if surface is Surface.OPENAI else 1_209_600
    if anchor != "created_at":
        message = f"Invalid value: '{anchor}'. Supported values are: 'created_at'."
        raise refused(surface, message, param=f"{name}.anchor", code="invalid_value")
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    if type(seconds) is not int or not low <= seconds <= 2_592_000:
        message = f"Invalid '{name}.seconds': must be between {low} and 2592000."
        raise refused(surface, message, param=f"{name}.seconds", code="invalid_value")
    return seconds


def metadata_problem(metadata: object) -> str | None:
    """Return what is wrong with the metadata of a request."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        return "Invalid type for 'metadata': expected an object."
    if len(metadata) > 16:
        return f"Invalid 'metadata': at most 16 properties, but got {len(metadata)}."
    for name, value in metadata.items():
        if not isinstance(value, str):
            return f"Invalid type for 'metadata.{name[:64]}': expected a string."
        if len(name) > 64 or len(value) > 512:
            return "Invalid 'metadata': a key has at most 64 characters, a value at most 512."
    return None
