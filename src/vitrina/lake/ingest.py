"""From a shop's files to the lake's tables: read, check, de-duplicate, sessionise, swap in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import narwhals as nw

from vitrina.lake.codes import Names
from vitrina.lake.engine import ROW, Engine, Frame, open_engine
from vitrina.lake.erasures import erasures_digest
from vitrina.lake.ingest_events import (
    check_plan,
    merge_events,
    next_valid,
    plan_events,
    quarantined,
    write_events,
    write_shards,
)
from vitrina.lake.ingest_items import ingest_items
from vitrina.lake.landing import LOG
from vitrina.lake.last_set import Scope, last_set, used_records
from vitrina.lake.ledger import LEDGER, Ledger, settings_digests
from vitrina.lake.mapping import wanted
from vitrina.lake.quality.activity import activity
from vitrina.lake.quality.bots import find_bots
from vitrina.lake.quality.fitness import measure, require_fit, require_rows
from vitrina.lake.quality.profile import Tables
from vitrina.lake.quality.report import write_report
from vitrina.lake.quarantine import count, examples, table_report
from vitrina.lake.readers.raw import FILE
from vitrina.lake.readers.read import read_files
from vitrina.lake.report import IngestReport
from vitrina.lake.shoppers import distinct
from vitrina.lake.tables import (
    REPORT,
    keep_current_only,
    new_tables,
    scan_set,
    scan_stored,
    table_at,
    write_json,
)
from vitrina.lake.waiting import settle
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
    scope: Scope = "new",
    fit_only: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Read the items and events that [lake] names into the lake's tables.

    Of the events, only files that the last set does not hold are read, as long as nothing else
    has changed; the tables are the same as after a full run. scope: what is looked at. now: the
    ingest's clock (default: the present). fit_only: refuse tables that cannot make a recommender.
    progress is told each of STAGES as it begins. The new tables replace the old ones in one step
    at the end; whatever stops the run before that leaves the old ones as they were. Raises
    DataError when a source cannot be used, UnfitData when no item or no event is left and, with
    fit_only, when `quality.fitness` finds another obstacle.
    """
    stage = _Stages(progress)
    clock = _in_utc(now or datetime.now(UTC))
    latest = clock + CLOCK_TOLERANCE
    lake = settings.paths.lake
    erasures = erasures_digest(lake / LOG)
    with open_engine(settings) as engine, new_tables(lake) as folder:
        last = last_set(lake)
        with stage("items"):
            items = ingest_items(engine, settings, last, folder, clock, latest, scope)
        with stage("read events"):
            plan = plan_events(settings, last, latest, scope)
            raw = read_files(
                engine, plan.files, [wanted("events", source) for source in plan.sources]
            )
        with stage("check events"):
            names = Names.of(engine, items.items, settings.events.weights)
            checked = check_plan(engine, settings, plan, raw, names, latest)
        base = last if plan.rebuilt is None else None
        with stage("sessions"):
            addresses = [record.address for record in (*plan.known, *plan.records)]
            last_folder = None if base is None else base.folder
            settled = settle(engine, checked, addresses, len(plan.known), names, last_folder)
            tables = merge_events(engine, settings, base, plan, settled.checked, names)
            write_events(engine, tables, base, folder)
            engine.write_parquet(settled.waiting.sort(FILE, ROW), table_at(folder, "waiting"))
            events = scan_set(engine, folder, "events")
        with stage("sequences"):
            write_shards(engine, tables, base, items.items, folder)
        with stage("bots"):
            active = activity(engine, scan_stored(engine, folder, "events"))
            bots = engine.persist(find_bots(engine, events, active))
            engine.write_parquet(bots.sort("key", "reason"), table_at(folder, "bots"))
        with stage("report"):
            bad = engine.persist(
                nw.concat([items.quarantined, *quarantined(engine, base, settled, addresses)])
            )
            engine.write_parquet(
                bad.sort("table", "file", "row", "column"), table_at(folder, "quarantine")
            )
            events_report = table_report(
                engine,
                checked,
                bad,
                kept=count(engine, events),
                duplicates=count(engine, tables.duplicates),
                earlier=None if base is None else base.table_report("events"),
            )
            require_rows("items", items.report)
            require_rows("events", events_report)
            weights = settings.events.weights
            if fit_only:
                require_fit(measure(engine, events, active, bots, weights))
            totals = _totals(engine, active)
            shown = examples(engine, bad)
        report = IngestReport(
            items=items.report,
            events=events_report,
            **totals,
            rebuilt=plan.rebuilt,
            examples=shown,
            seconds=stage.seconds,
        )
        with stage("quality"):
            described = Tables(items.items, events, bad, bots, active)
            write_report(engine, folder, described, report.to_json(), weights)
        ledger = Ledger(
            settings={**settings_digests(settings), "items": items.settings},
            items=items.records,
            events=[*plan.known, *used_records(plan.records, checked)],
            next_valid=next_valid(engine, base, checked),
            erasures=erasures,
        )
        write_json(folder / LEDGER, ledger.to_json())
        write_json(folder / REPORT, report.to_json())
    if last is not None and last.ledger.erasures != erasures:
        keep_current_only(lake)
    return report


def _totals(engine: Engine, active: Frame) -> dict[str, Any]:
    """Distinct users and sessions, first and last moment; active: of `activity`."""
    users = distinct(active.filter(~nw.col("anonymous")), "key").select(nw.len())
    totals: dict[str, Any] = engine.collect(
        active.select(
            sessions=nw.col("session_id").n_unique(),
            first_event=nw.col("first").min().cast(nw.Datetime("us", "UTC")),
            last_event=nw.col("last").max().cast(nw.Datetime("us", "UTC")),
        )
    ).to_pylist()[0]
    return {"users": engine.collect(users)[0][0].as_py(), **totals}


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
