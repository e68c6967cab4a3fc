"""Compaction: the log's events into the lake's tables, and out of the log.

Three steps, each of which may be cut off at any moment and is made good by the next run: land the
new events (`landing`), ingest the landing files that the tables lack, and delete from the log what
the tables hold. Events stay in the log for KEPT_DAYS all the same: so long does the server know an
event that is sent again; afterwards it is taken once more, and the lake finds the duplicate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vitrina.lake.erasures import erasures_digest
from vitrina.lake.ingest import Progress, ingest
from vitrina.lake.landing import LOG, land, landed_until, watermark
from vitrina.lake.last_set import last_set
from vitrina.lake.report import IngestReport
from vitrina.settings import Settings
from vitrina.state.base import EventLog

KEPT_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Compaction:
    """What one run did.

    landed: events copied from the log. ingest: the report on the new set of tables; None where
    the tables had everything. watermark: the last offset that they hold. trimmed: events deleted
    from the log.
    """

    landed: int
    ingest: IngestReport | None
    watermark: int
    trimmed: int


def compact(
    settings: Settings,
    log: EventLog,
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Compaction:
    """Bring the lake's tables up to the events that `log` holds at this moment.

    Of the shop's files none is looked at, unless something makes a full ingest necessary. Raises
    what `land` and `ingest` raise; then run it again.
    """
    lake = settings.paths.lake
    landed = land(log, lake)
    report = None
    if watermark(log, lake) < landed_until(log, lake) or _holds_erased(lake):
        report = ingest(settings, now=now, scope="log", progress=progress)
    held = watermark(log, lake)
    received_before_us = time.time_ns() // 1000 - KEPT_DAYS * 86_400_000_000
    return Compaction(landed, report, held, log.trim(held, received_before_us))


def _holds_erased(lake: Path) -> bool:
    """Whether the tables were made before the last erasure."""
    last = last_set(lake)
    return last is not None and last.ledger.erasures != erasures_digest(lake / LOG)
