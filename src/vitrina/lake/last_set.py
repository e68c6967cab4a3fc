"""The set of tables that the next one is built on, and whether it can be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vitrina.lake.ledger import Input, InputRecord, Ledger, read_ledger
from vitrina.lake.quarantine import CheckedTable
from vitrina.lake.readers.raw import InputFile
from vitrina.lake.report import TableReport
from vitrina.lake.tables import REPORT, current_tables, has_tables
from vitrina.settings_sources import Source

Scope = Literal["new", "all", "log"]
"""What an ingest looks at: what is new or has changed; everything, as if for the first time; or
new landing files of the event log only, as far as the last set can be built on (`landing`)."""


@dataclass(frozen=True, slots=True)
class LastSet:
    """The current set of a lake: its folder, what it was made of, and the report on it."""

    folder: Path
    ledger: Ledger
    report: dict[str, Any]

    def table_report(self, table: Literal["items", "events"]) -> TableReport:
        """The report on one table, of which this run has read nothing."""
        return replace(TableReport(**self.report[table]), read_now=0)


def last_set(lake: Path) -> LastSet | None:
    """The current set; None if there is none, or none that this version can build on."""
    if not has_tables(lake):
        return None
    folder = current_tables(lake)
    ledger = read_ledger(folder)
    if ledger is None:
        return None
    return LastSet(folder, ledger, json.loads((folder / REPORT).read_text("utf-8")))


def inputs_of(files: Sequence[InputFile], sources: Sequence[Source]) -> list[Input]:
    """Each file with its source."""
    return [Input(file.address, file.location, sources[file.wanted]) for file in files]


def used_records(records: Sequence[InputRecord], checked: CheckedTable) -> list[InputRecord]:
    """The records of the files that were read; a file of no use keeps its place, unread."""
    unusable = {file.address for file in checked.unusable}
    return [
        replace(record, digest="") if record.address in unusable else record for record in records
    ]
