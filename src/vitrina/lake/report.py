"""What an ingest did, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vitrina.errors import DataError


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table's rows: read = kept + quarantined + duplicates, always.

    read: rows of all files that the table is made of; read_now: those that this run has read.
    Of items, duplicates are the earlier rows of an item, those of its history among them.
    quarantined, repaired: rows by "column: reason". A repaired row is kept without the bad value.
    mapped: {"files", "columns"} of each source: our column -> what it was read from, in words.
    ignored_columns: columns of the files that the table does not know.
    unusable_files: {"file", "reason"} of files of which nothing was read.
    """

    files: int
    read: int
    read_now: int
    kept: int
    duplicates: int
    quarantined: dict[str, int]
    repaired: dict[str, int]
    mapped: list[dict[str, Any]]
    ignored_columns: list[str]
    unusable_files: list[dict[str, str]]

    def check(self, table: str) -> None:
        """Raise DataError unless every row read is accounted for."""
        quarantined = sum(self.quarantined.values())
        if self.read != self.kept + quarantined + self.duplicates:
            raise DataError(
                f"Rows of {table} do not add up: {self.read} read, but {self.kept} kept, "
                f"{quarantined} quarantined and {self.duplicates} duplicates. Nothing was "
                "changed. Files may have changed while they were read: ingest again."
            )


@dataclass(frozen=True, slots=True)
class IngestReport:
    """One run of `ingest`.

    first_event, last_event: UTC. users: distinct user ids; sessions: distinct session ids.
    rebuilt: why all events were read, a clause; None if only new ones were.
    examples: a few quarantined rows, each {"table", "file", "row", "column", "reason"}.
    seconds: wall time by stage.
    """

    items: TableReport
    events: TableReport
    users: int
    sessions: int
    first_event: datetime
    last_event: datetime
    rebuilt: str | None
    examples: list[dict[str, Any]]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The report as what JSON can hold; moments in ISO 8601."""
        values = asdict(self)
        values["first_event"] = self.first_event.isoformat()
        values["last_event"] = self.last_event.isoformat()
        return values
