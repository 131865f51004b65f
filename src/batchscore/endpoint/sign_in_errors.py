"""Why was there no token, and what should the user do about it?

Pure: it makes a message from the credentials tried, the error's text and the variables. It reads only Entra
ID's own error codes from the text; the rest may quote any reply of a token service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PRINCIPAL = "the service principal in AZURE_CLIENT_ID was refused: "
_LOGIN = "the sign-in on this machine has expired: run az login again."

#: Entra ID's error codes → what to do (learn.microsoft.com, "Microsoft Entra authentication and authorization
#: error codes", seen 2026-11).
ADVICE: Mapping[str, str] = {
    "AADSTS7000215": _PRINCIPAL + "AZURE_CLIENT_SECRET is not its secret (the value, not the secret's id).",
    "AADSTS7000222": _PRINCIPAL + "its secret has expired; create a new one.",
    "AADSTS700016": _PRINCIPAL + "the tenant in AZURE_TENANT_ID has no application with this id.",
    "AADSTS700024": _PRINCIPAL + "its assertion is not valid at this time; check this machine's clock.",
    "AADSTS700213": _PRINCIPAL + "it has no federated credential for this workload.",
    "AADSTS70021": _PRINCIPAL + "it has no federated credential for this workload.",
    "AADSTS90002": "AZURE_TENANT_ID is not a tenant.",
    "AADSTS500011": "this tenant has no resource with this scope: check BATCHSCORE_ENTRA_SCOPE.",
    "AADSTS70011": "the scope is not valid: check BATCHSCORE_ENTRA_SCOPE.",
    "AADSTS53003": "a Conditional Access policy forbids it on this machine; ask your tenant's administrator.",
    "AADSTS50173": _LOGIN,
    "AADSTS50078": _LOGIN,
    "AADSTS50076": _LOGIN,
    "AADSTS50079": _LOGIN,
    "AADSTS70043": _LOGIN,
    "AADSTS700082": _LOGIN,
}

#: Variables of a machine with an identity service: App Service, and Azure ML and others.
_MACHINE = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")


def sign_in_failure(scope: str, tried: Sequence[str], text: str, environ: Mapping[str, str]) -> str:
    """Return the message for a missing token: its scope, the ways that were tried, and what usually helps."""
    ways = ", ".join(name for name in tried if name != "FailedDAC") or "nothing"
    codes = list(dict.fromkeys(re.findall(r"AADSTS\d+", text)))
    shown = f" ({', '.join(codes)})" if codes else ""
    advice = next((ADVICE[code] for code in codes if code in ADVICE), None) or _by_situation(environ)
    return (
        f"No Entra ID token for {scope}{shown}. Tried: {ways}. {advice[0].upper()}{advice[1:]} Or use a key."
    )


def _by_situation(environ: Mapping[str, str]) -> str:
    """Return what usually helps a machine with its own identity, a service principal, or neither."""
    service = next((name for name in _MACHINE if environ.get(name)), None)
    if all(environ.get(name) for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")) and any(
        environ.get(name)
        for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
    ):
        return (
            "the service principal in AZURE_TENANT_ID, AZURE_CLIENT_ID and the rest got no token: check "
            "them, and that this machine can reach login.microsoftonline.com (or AZURE_AUTHORITY_HOST)."
        )
    if service is not None:
        chosen = next(
            (name for name in ("DEFAULT_IDENTITY_CLIENT_ID", "AZURE_CLIENT_ID") if environ.get(name)), None
        )
        which = (
            f"{chosen} must be the client id of one of its identities"
            if chosen
            else "if it has several, set DEFAULT_IDENTITY_CLIENT_ID to the client id of one"
        )
        return (
            f"this machine's identity service ({service}) gave no token: give the cluster an identity "
            "(az ml compute update --identity-type system_assigned) with the role Cognitive Services OpenAI "
            f"User; {which}."
        )
    return (
        "on your machine: run az login, or set a service principal in AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET. "
        "On Azure: give the machine an identity with the role Cognitive Services OpenAI User, and if it has "
        "several, set DEFAULT_IDENTITY_CLIENT_ID or AZURE_CLIENT_ID."
    )
