"""Which Azure resource has a deployment, and how is its Resource Manager called?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from batchscore.endpoint.resource_manager import resource_manager
from batchscore.errors import SettingsError
from batchscore.finetune.service.calls import USUAL, CallLimits
from batchscore.finetune.state import TrainingState
from batchscore.provider.arm import Account, account_of, open_arm
from batchscore.provider.client import ControlPlane, failing_as_error

#: The variables for `--resource` and `--arm-endpoint`.
RESOURCE_VARIABLE = "BATCHSCORE_AZURE_RESOURCE"
ENDPOINT_VARIABLE = "BATCHSCORE_ARM_ENDPOINT"


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """What the user says of Azure: the ID of the resource, and another address of Resource Manager."""

    resource: str | None = None
    arm_endpoint: str | None = None

    def account(self, state: TrainingState | None, environ: Mapping[str, str]) -> Account | None:
        """Return the resource: that of a folder's deployment, else the named one. Raises `SettingsError`.

        A deployment is nowhere else than where it was made: elsewhere it would seem to be gone.
        """
        made = None if state is None else state.deployment
        known = "" if made is None else made.arm_id.partition("/deployments/")[0]
        given = self.resource or known or environ.get(RESOURCE_VARIABLE, "").strip()
        account = account_of(given) if given else None
        if made is not None and known and account is not None and not account.is_at(known):
            raise SettingsError(
                f"--resource names {account.id}, and the deployment {made.name} of this folder is in "
                f"{known}. Leave --resource out. To use another resource, delete that deployment first."
            )
        return account

    def required(self, state: TrainingState | None, environ: Mapping[str, str]) -> Account:
        """Return the resource; raises `SettingsError` if it is not known."""
        account = self.account(state, environ)
        if account is None:
            raise SettingsError(
                "Which Azure OpenAI resource is meant? Give its ID with --resource or the variable "
                f"{RESOURCE_VARIABLE}. `az cognitiveservices account show` prints it."
            )
        return account

    def calls(
        self, host: str, environ: Mapping[str, str], limits: CallLimits = USUAL
    ) -> AbstractAsyncContextManager[ControlPlane]:
        """Return the calls to Resource Manager; `host` is that of the service, with its port."""
        given = self.arm_endpoint or environ.get(ENDPOINT_VARIABLE)
        manager = resource_manager(given, host.partition(":")[0], environ)
        return failing_as_error(open_arm(manager, environ, limits.pace), HINT)


#: What may help if Resource Manager refuses a call.
HINT = "Check --resource, the tenant that you are signed in to, and whether this identity may read it."
