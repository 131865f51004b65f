"""Which settings of batches contradict others?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchscore.settings.deadline import seconds_of
from batchscore.settings.refuse import refuse

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings

#: Settings that batches do not take yet, and those that only they have.
NOT_IN_BATCHES = ("dedup", "shared_output", "schema_feedback")
ONLY_IN_BATCHES = (
    *("batch_tokens", "batch_patience", "finish_live", "live_deployment", "no_canary", "no_wait"),
    "keep_batch_files",
)


def check_batch(chosen: Settings) -> None:
    """Raise `UsageError` if settings of batches and of live requests are mixed."""
    if chosen.via != "batch":
        for field in ONLY_IN_BATCHES:
            refuse(getattr(chosen, field), f"{{{field}}} is for batches; give it with {{via=batch}}.")
        return
    message = "{via=batch} does not take {part_of}: one process is enough for all batches. Omit one of them."
    refuse(chosen.part_of, message)
    for field in NOT_IN_BATCHES:
        refuse(getattr(chosen, field), f"{{via=batch}} does not take {{{field}}} yet; omit one of them.")
    truncates = chosen.on_long_input == "truncate"
    refuse(truncates, "{via=batch} does not take {on_long_input=truncate} yet; omit one of them.")
    message = (
        "The simulator of {simulate} ends with the run, and its batches with it, so {no_wait} would never "
        "fetch results. Leave {no_wait} out, or start `batchscore simulate` in another terminal and set "
        "{endpoint}."
    )
    refuse(chosen.simulate and chosen.no_wait, message)
    retries_nothing = chosen.retry_errors and chosen.batch_rounds == 0 and not chosen.finish_live
    message = (
        "{batch_rounds=0} sends nothing, so {retry_errors} would only remove the error records. To send "
        "these rows again, leave {batch_rounds} out; to only fetch results, leave {retry_errors} out."
    )
    refuse(retries_nothing, message)
    if chosen.batch_patience is not None:
        seconds_of("batch_patience", chosen.batch_patience)
    alone = chosen.live_deployment is not None and not chosen.finish_live
    refuse(alone, "{live_deployment} is for {finish_live}; give both, or neither.")
    same = chosen.live_deployment is not None and chosen.live_deployment == (
        chosen.deployment or chosen.model
    )
    refuse(same, "{live_deployment} names the deployment of the batches; name one for live requests.")
    message = "{simulate} has only one deployment; omit {live_deployment}."
    refuse(chosen.simulate and chosen.live_deployment, message)
