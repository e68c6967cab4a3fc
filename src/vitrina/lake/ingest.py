"""From a shop's files to the lake's tables: read, check, de-duplicate, sessionise, swap in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import narwhals as nw

from vitrina.lake.clean import check_events, check_items, unique_events, unique_items
from vitrina.lake.engine import Engine, Frame, open_engine
from vitrina.lake.mapping import wanted
from vitrina.lake.partitions import months_of, write_months
from vitrina.lake.quality.activity import activity
from vitrina.lake.quality.bots import find_bots
from vitrina.lake.quality.fitness import measure, require_fit, require_rows
from vitrina.lake.quality.profile import Tables
from vitrina.lake.quality.report import write_report
from vitrina.lake.quarantine import (
    CheckedTable,
    check_files,
    count,
    examples,
    quarantine,
    table_report,
)
from vitrina.lake.readers.read import read_table
from vitrina.lake.report import IngestReport
from vitrina.lake.sequences import write_sequences
from vitrina.lake.sessions import sessionise
from vitrina.lake.shards import SHARDS
from vitrina.lake.tables import REPORT, new_tables, table_at, write_json
from vitrina.schema import EVENT_COLUMNS, ITEM_COLUMNS
from vitrina.settings import Settings

STAGES: Final = (
    "items",
    "read events",
    "check events",
    "sessions",
    "sequences",
    "bots",
    "report",
    "quality",
)
"""The stages of an ingest, in order: what `progress` is told."""

CLOCK_TOLERANCE: Final = timedelta(days=1)
"""How far after the ingest's clock an event may lie before it counts as the future."""

Progress = Callable[[str], None]


def ingest(
    settings: Settings,
    *,
    now: datetime | None = None,
    fit_only: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Read all items and events that [lake] names into the lake's tables.

    now: the ingest's clock (default: the present). fit_only: refuse tables that cannot make a
    recommender. progress is told each of STAGES as it begins. The new tables replace the old ones
    in one step at the end; whatever stops the run before that leaves the old ones as they were.
    Raises DataError when a source cannot be used, UnfitData when no item or no event is left and,
    with fit_only, when `quality.fitness` finds another obstacle.
    """
    stage = _Stages(progress)
    with open_engine(settings) as engine, new_tables(settings.paths.lake) as folder:
        with stage("items"):
            checked_items = _check_items(engine, settings)
            items = engine.persist(unique_items(checked_items.good).select(*ITEM_COLUMNS))
            engine.write_parquet(items.sort("item_id"), table_at(folder, "items"))
        with stage("read events"):
            raw_events = read_table(
                engine, "events", [wanted("events", source) for source in settings.lake.events]
            )
        with stage("check events"):
            check = partial(
                check_events,
                items=items,
                event_types=settings.events.weights,
                latest=_in_utc(now or datetime.now(UTC)) + CLOCK_TOLERANCE,
            )
            checked_events = check_files(engine, "events", raw_events, settings.lake.events, check)
        with stage("sessions"):
            gap = timedelta(minutes=settings.lake.session_gap_minutes)
            events = sessionise(unique_events(checked_events.good), gap).select(*EVENT_COLUMNS)
            events = events.with_columns(nw.col("timestamp").cast(nw.Datetime("us", "UTC")))
            events = engine.persist(events)
            write_months(engine, events, table_at(folder, "events"), months_of(engine, events))
        with stage("sequences"):
            write_sequences(engine, events, folder / SHARDS)
        with stage("bots"):
            active = activity(engine, events)
            bots = engine.persist(find_bots(engine, events, active))
            engine.write_parquet(bots.sort("key", "reason"), table_at(folder, "bots"))
        with stage("report"):
            tables = (checked_items, checked_events)
            bad = engine.persist(nw.concat([quarantine(engine, table) for table in tables]))
            engine.write_parquet(
                bad.sort("table", "file", "row", "column"), table_at(folder, "quarantine")
            )
            items_report = table_report(engine, checked_items, count(engine, items), bad)
            events_report = table_report(engine, checked_events, count(engine, events), bad)
            require_rows("items", items_report)
            require_rows("events", events_report)
            weights = settings.events.weights
            if fit_only:
                require_fit(measure(engine, events, active, bots, weights))
            totals = _totals(engine, events)
            shown = examples(engine, bad)
        report = IngestReport(
            items=items_report,
            events=events_report,
            **totals,
            examples=shown,
            seconds=stage.seconds,
        )
        with stage("quality"):
            described = Tables(items, events, bad, bots, active)
            write_report(engine, folder, described, report.to_json(), weights)
        write_json(folder / REPORT, report.to_json())
    return report


def _check_items(engine: Engine, settings: Settings) -> CheckedTable:
    sources = settings.lake.items
    raw = read_table(engine, "items", [wanted("items", source) for source in sources])
    check = partial(check_items, engine, max_text_chars=settings.lake.max_text_chars)
    return check_files(engine, "items", raw, sources, check)


def _totals(engine: Engine, events: Frame) -> dict[str, Any]:
    """Distinct users and sessions, first and last moment."""
    totals: dict[str, Any] = engine.collect(
        events.select(
            users=nw.col("user_id").n_unique() - nw.col("user_id").is_null().any().cast(nw.Int64),
            sessions=nw.col("session_id").n_unique(),
            first_event=nw.col("timestamp").min(),
            last_event=nw.col("timestamp").max(),
        )
    ).to_pylist()[0]
    return totals


def _in_utc(moment: datetime) -> datetime:
    """A datetime without zone, in UTC; one without a zone is taken to be UTC already."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


class _Stages:
    """Tells `progress` of each stage as it begins and keeps its wall time."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self._progress:
            self._progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
