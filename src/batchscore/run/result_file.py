"""How does a run write the one file that the user named: a table of the inputs, or the scores?

It knows nothing of requests. The records are complete before; a failure here loses none.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchscore.output.ledger import Ledger
from batchscore.output.merge import write_one_file
from batchscore.output.one_file import refuse_edited
from batchscore.output.tables.write import TableStyle, is_table, write_table
from batchscore.plan.survey import Survey
from batchscore.report.run_end import RunEnd
from batchscore.rows import Listen, Notice
from batchscore.run.expected import announce_table
from batchscore.run.record import table_sources
from batchscore.settings.fields import Settings
from batchscore.stores.address import Place


def write_result_file(
    file: Place,
    ledger: Ledger,
    names: Sequence[str],
    settings: Settings,
    survey: Survey,
    outcome: RunEnd,
    listen: Listen,
) -> None:
    """Write the scores of these input files to one file; raises `OutputError` if it was edited meanwhile."""
    refuse_edited(ledger.spec.layout.root, file)
    if not is_table(file):
        write_one_file(ledger, file, names, settings.dimensions)
        return
    announce_table(file, outcome, listen)
    limited, several = settings.limit is not None, survey.of_several_files
    style = TableStyle(settings.csv_bom, settings.allow_formulas, limited, several)
    sources = table_sources(survey, ledger.manifests)
    table = write_table(ledger.spec.layout, sources, file, style, sync=settings.sync)
    if table.note:
        listen(Notice(f"The table {file} is {table.note}."))
