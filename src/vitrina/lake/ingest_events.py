"""The events' part of an ingest: only the new files if that is enough, else all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import narwhals as nw
import numpy as np

from vitrina.lake.clean import REASON, check_events
from vitrina.lake.codes import CODED, ITEM, KIND, Names
from vitrina.lake.contract import FUTURE, UNKNOWN_ITEM
from vitrina.lake.duplicates import PLACE, RANK, place_of
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.erasures import erasures_digest, without_erased
from vitrina.lake.incremental import (
    FirstTables,
    MergedTables,
    first_tables,
    merged_tables,
)
from vitrina.lake.landing import LOG, log_sources
from vitrina.lake.last_set import LastSet, Scope, inputs_of
from vitrina.lake.ledger import InputRecord, compare, record_of, settings_digests, unread
from vitrina.lake.mapping import wanted
from vitrina.lake.partitions import (
    SUFFIX,
    in_month,
    scan_months,
    with_zone,
    without_zone,
    write_months,
)
from vitrina.lake.quarantine import CheckedTable, check_files, count, quarantine
from vitrina.lake.readers.addresses import find_files
from vitrina.lake.readers.raw import FILE, InputFile, RawTable
from vitrina.lake.sequences import update_sequences, write_timeline
from vitrina.lake.shards import SHARDS
from vitrina.lake.tables import keep_path, scan_set, scan_stored, table_at
from vitrina.lake.waiting import Settled
from vitrina.schema import EVENT_COLUMNS
from vitrina.settings import Settings
from vitrina.settings_sources import Source


@dataclass(frozen=True, slots=True)
class EventPlan:
    """Which event files are read.

    rebuilt: why all of them are, a clause; None if only those that are new. sources: what `wanted`
    of a file counts in. files: those to read. known: the records of the others; records: those of
    `files`.
    """

    rebuilt: str | None
    sources: Sequence[Source]
    files: Sequence[InputFile]
    known: Sequence[InputRecord]
    records: Sequence[InputRecord]


def plan_events(
    settings: Settings, last: LastSet | None, latest: datetime, scope: Scope
) -> EventPlan:
    """Find the event files and decide which have to be read.

    latest: the last moment (UTC, without zone) that is not the future.
    """
    if scope == "all":
        rebuilt: str | None = "a full run was asked for"
    elif last is None:
        rebuilt = "the lake has no tables that can be built on"
    else:
        rebuilt = _no_longer_valid(settings, last, latest)
    landed = log_sources(settings.paths.lake)
    sources = landed if scope == "log" and rebuilt is None else [*settings.lake.events, *landed]
    asked = [wanted("events", source) for source in sources]
    files = find_files("events", asked)
    inputs = inputs_of(files, sources)
    if last is None or rebuilt is not None:
        known, new = [], list(range(len(files)))
    elif scope == "log":
        known, new = list(last.ledger.events), unread(last.ledger.events, inputs)
    else:
        found = compare(last.ledger.events, inputs)
        known, new = found.known, found.new
        if found.differing:
            rebuilt, known, new = found.differing[0], [], list(range(len(files)))
    return EventPlan(
        rebuilt,
        sources,
        [files[place] for place in new],
        known,
        [record_of(inputs[place]) for place in new],
    )


def _no_longer_valid(settings: Settings, last: LastSet, latest: datetime) -> str | None:
    """What makes the last set's verdicts on its events wrong, a clause; None if nothing does."""
    if last.ledger.settings["events"] != settings_digests(settings)["events"]:
        return "the session gap or the event types have changed"
    if last.ledger.next_valid is not None and last.ledger.next_valid <= latest:
        return "events that were set apart lie in the future no more"
    if last.ledger.erasures != erasures_digest(settings.paths.lake / LOG):
        return "people have asked to be forgotten"
    return None


def check_plan(
    engine: Engine,
    settings: Settings,
    plan: EventPlan,
    raw: RawTable,
    names: Names,
    latest: datetime,
) -> CheckedTable:
    """Check what was read. Raises DataError if that is all there is, and of no use.

    Good events have ITEM and KIND of `names` in place of item_id and event_type.
    """
    log_folder = settings.paths.lake / LOG

    def check(mapped: Frame) -> Frame:
        return without_erased(engine, check_events(mapped, names=names, latest=latest), log_folder)

    columns = [*(name for name in EVENT_COLUMNS if name not in CODED), ITEM, KIND]
    whole = plan.rebuilt is not None
    return check_files(engine, "events", raw, plan.sources, check, columns, whole=whole)


def merge_events(
    engine: Engine,
    settings: Settings,
    last: LastSet | None,
    plan: EventPlan,
    checked: CheckedTable,
    names: Names,
) -> FirstTables | MergedTables:
    """De-duplicate and sessionise what was read, and with it what it touches of the last set.

    checked: of `settle`. last: here and below, the set that is built on; None if all files were
    read. names: as in `check_plan`.
    """
    gap = timedelta(minutes=settings.lake.session_gap_minutes)
    # Files keep their number from set to set; which file comes first is a matter of its name.
    records = [*plan.known, *plan.records]
    ranks = {rank: place for place, rank in enumerate(sorted({each.rank for each in records}))}
    order = engine.from_columns(
        {
            FILE: np.arange(len(records), dtype=np.int64),
            RANK: np.array([ranks[each.rank] for each in records], dtype=np.int64),
        }
    )
    order = engine.persist(order)  # how wide sorts are is planned by what kept tables hold
    rows = checked.good.join(order, on=FILE)
    rows = rows.with_columns(place_of(nw.col(RANK)).alias(PLACE))
    if last is None:
        return first_tables(engine, rows, names, gap)
    return merged_tables(engine, last.folder, names.decode(rows), order, gap)


def write_events(
    engine: Engine, tables: FirstTables | MergedTables, last: LastSet | None, folder: Path
) -> None:
    """Write events and duplicates into `folder`: the months that differ; the others are kept."""
    events = table_at(folder, "events")
    if isinstance(tables, FirstTables):
        rows, words = tables.timeline.stored(), tables.timeline.codes.words
        write_months(engine, rows, events, tables.months, words)
        if not tables.months:  # the run is refused, but not before its report says why
            rows = rows.with_columns(nw.lit(None, nw.String).alias(name) for name in words)
            engine.write_parquet(with_zone(rows), events / f"none{SUFFIX}")
    else:
        assert last is not None, "only what there is can be added to"
        before = table_at(last.folder, "events")
        for path in before.iterdir():
            if path.name.removesuffix(SUFFIX) not in tables.months:
                keep_path(path, events / path.name)
        for month in tables.months:
            rest = without_zone(scan_months(engine, before, [month]))
            rest = rest.join(tables.removed.select(FILE, ROW), on=[FILE, ROW], how="anti")
            rows = nw.concat([rest, tables.added.filter(in_month(month))])
            rows = engine.persist(rows.sort("user_id", "timestamp"))
            if count(engine, rows):
                write_months(engine, rows, events, [month])
    duplicates = tables.duplicates.sort(FILE, ROW)
    engine.write_parquet(duplicates, table_at(folder, "duplicates"))


def write_shards(
    engine: Engine,
    tables: FirstTables | MergedTables,
    last: LastSet | None,
    items: Frame,
    folder: Path,
) -> None:
    """Write the shoppers' sequences into `folder`: the shards that differ; the others are kept."""
    if isinstance(tables, FirstTables):
        write_timeline(engine, tables.timeline, folder / SHARDS)
    else:
        assert last is not None, "only what there is can be added to"
        events = scan_stored(engine, folder, "events")
        whose = ("user_id", "session_id")
        changed = nw.concat([tables.added.select(*whose), tables.removed.select(*whose)])
        before, now = last.folder / SHARDS, folder / SHARDS
        update_sequences(engine, events, items, changed, before, now)


def next_valid(engine: Engine, last: LastSet | None, checked: CheckedTable) -> datetime | None:
    """The earliest event set apart as of the future (UTC, without zone)."""
    future = checked.noted.filter(nw.col(REASON) == FUTURE).select(nw.col("timestamp").min())
    moments = [engine.collect(future)[0][0].as_py()]
    if last is not None:
        moments.append(last.ledger.next_valid)
    return min((moment for moment in moments if moment is not None), default=None)


def quarantined(
    engine: Engine, last: LastSet | None, settled: Settled, addresses: Sequence[str]
) -> list[Frame]:
    """The quarantine table's rows about events; addresses: of all files, in their places."""
    parts = [quarantine(engine, settled.checked)]
    if last is not None:
        files = engine.from_columns(
            {FILE: np.arange(len(addresses)), "file": np.array(addresses, dtype=np.str_)}
        )
        taken = settled.taken.join(files, on=FILE).select(
            "file", nw.col(ROW).alias("row"), reason=nw.lit(UNKNOWN_ITEM)
        )
        earlier = scan_set(engine, last.folder, "quarantine").filter(nw.col("table") == "events")
        parts.append(earlier.join(taken, on=["file", "row", "reason"], how="anti"))
    return parts
