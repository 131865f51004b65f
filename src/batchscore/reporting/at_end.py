"""How does a run leave its page, where nobody asked to wait for it?

It takes a second or so, and whatever is wrong with the page is no reason for a run to fail.
"""

from __future__ import annotations

from dataclasses import replace

from batchscore.reporting.make import quickly, write_report
from batchscore.rows import Listen, Notice
from batchscore.run import Finished


def with_page(finished: Finished, listen: Listen) -> Finished:
    """Write the page of a run that has ended; one of several workers leaves that to `batchscore report`."""
    if finished.settings.shared:
        return finished
    output = finished.output
    try:
        page = write_report(
            output.folder, shown=str(output.asked_for), effort=quickly(finished.statistics.ok)
        )
    except (Exception, KeyboardInterrupt) as error:
        # The scores stand; what stops a page that is only looked at must not stop who made them, nor turn
        # a run that is through into one that was interrupted.
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        listen(Notice(f"There is no page of this run ({reason}); `batchscore report` tries again."))
        return finished
    return replace(finished, report=page)
