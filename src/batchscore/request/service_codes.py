"""Which codes of a service's errors may be shown in records?

A service can put anything into its error's code, even a word of the prompt. So only codes that services are
known to use are shown, and of parameters only the names of those that were sent.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

#: Codes and types of errors, by the services' documentation and replies seen (2026-11): OpenAI's and those of
#: services that copy them, Azure's, then those of vLLM, TGI, TEI and Google.
_CODES = """
Arrearage access_terminated account_deactivated api_error array_above_max_length array_below_min_length
authentication_error billing_hard_limit_reached billing_not_active budget_exceeded content_filter
content_policy_violation context_length_exceeded decimal_above_max_value decimal_below_min_value
deactivated_workspace empty_array empty_string engine_overloaded inference_error insufficient_permissions
insufficient_quota integer_above_max_value integer_below_min_value internal_error internal_server_error
invalid_api_key invalid_api_type invalid_base64 invalid_encrypted_content invalid_function_parameters
invalid_image invalid_image_format invalid_image_url invalid_json invalid_json_schema invalid_organization
invalid_parameter_combination invalid_project invalid_prompt invalid_request invalid_request_error
invalid_schema invalid_subscription_key invalid_type invalid_value ip_not_authorized json_validate_failed
max_tokens_exceeded max_tokens_per_request missing_required_parameter model_deprecated model_not_available
model_not_found model_overloaded moderation_blocked no_such_model not_found not_found_error
organization_deactivated overloaded overloaded_error permission_denied permission_error quota_exceeded
rate_limit_error rate_limit_exceeded request_timeout request_too_large requests server_error
server_overloaded service_unavailable service_unavailable_error slow_down string_above_max_length
string_below_min_length timeout timeout_error token_limit_exceeded tokens tool_use_failed
unknown_parameter unknown_url unsupported_country_region_territory unsupported_model unsupported_parameter
unsupported_value upstream_error validation_error

bio_policy data_residency_mismatch empty_image_file failed_to_download_image image_content_policy_violation
image_file_not_found image_file_too_large image_parse_error image_too_large image_too_small
invalid_base64_image invalid_image_mode unsupported_image_media_type vector_store_timeout

AccessDenied ApiVersionUnsupported AuthenticationFailed AuthorizationFailed BadGateway BadRequest Conflict
ContentFilter DeploymentNotFound EmbeddingsNotSupported Forbidden GatewayTimeout InternalServerError
InternalServerFailure InvalidApiVersion InvalidAuthenticationToken InvalidAuthenticationTokenTenant
InvalidRequest InvalidSubscriptionKey MethodNotAllowed ModelDeprecated NoCapacity NoHealthyUpstream
NotFound OperationNotSupported PermissionDenied PublicNetworkAccessDisabled RateLimitReached
RequestEntityTooLarge RequestTimeout ResourceNotFound ResponsibleAIPolicyViolation ServiceUnavailable
SpecialFeatureOrQuotaIdRequired SubscriptionNotRegistered Timeout TooManyRequests Unauthorized
UnprocessableEntity UnsupportedApiVersion UnsupportedModel

AccountOverdue AccountOverdueError InsufficientBalance InsufficientQuota credit_balance_too_low
exceeded_current_quota exceeded_current_quota_error exceed_context_size_error extra_forbidden
insufficient_balance insufficient_credits insufficient_funds insufficient_user_quota
organization_restricted payment_required

BadRequestError InternalServerError NotFoundError NotImplementedError UnprocessableEntityError
ValidationError Backend Empty Overloaded Tokenizer Unhealthy Validation generation validation ABORTED
CANCELLED DEADLINE_EXCEEDED FAILED_PRECONDITION INTERNAL INVALID_ARGUMENT NOT_FOUND OUT_OF_RANGE
PERMISSION_DENIED RESOURCE_EXHAUSTED UNAUTHENTICATED UNAVAILABLE UNIMPLEMENTED
"""
KNOWN_CODES = frozenset(_CODES.split())


def shown_detail(code: str, param: str, sent: bytes) -> str:
    """Return a service's code and parameter for a message, each only if it cannot be a word of the prompt.

    `sent` is the request's body.
    """
    parameter = sent_parameter(param, sent) if param else ""
    shown = (code if code in KNOWN_CODES else "", f"parameter {parameter}" if parameter else "")
    return " ".join(part for part in shown if part)


def sent_parameter(param: str, sent: bytes) -> str:
    """Return the sent parameter that a path such as `messages[0].name` begins with, or nothing."""
    name = re.split(r"[.\[]", param, maxsplit=1)[0]
    try:
        body: Any = orjson.loads(sent)
    except ValueError:
        return ""
    return name if isinstance(body, dict) and name in body else ""
