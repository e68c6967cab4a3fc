"""The catalog's part of an ingest: items and snapshots, read anew whenever a file differs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import narwhals as nw

from vitrina.lake.clean import check_items
from vitrina.lake.duplicates import PLACE, place_of, unique_items
from vitrina.lake.engine import Engine, Frame
from vitrina.lake.last_set import LastSet, Scope, inputs_of, used_records
from vitrina.lake.ledger import InputRecord, compare, record_of, settings_digests
from vitrina.lake.mapping import wanted
from vitrina.lake.quarantine import check_files, count, quarantine, table_report
from vitrina.lake.readers.addresses import find_files
from vitrina.lake.readers.raw import FILE
from vitrina.lake.readers.read import read_files
from vitrina.lake.report import TableReport
from vitrina.lake.snapshots import UTC_MOMENT, catalog_history
from vitrina.lake.tables import keep, scan_set, table_at
from vitrina.schema import ITEM_COLUMNS, ITEM_INPUTS
from vitrina.settings import Settings


@dataclass(frozen=True, slots=True)
class ItemTables:
    """The catalog of a new set.

    items: its rows, those that have left the files among them. quarantined: those of the
    quarantine table that are about items. records: the files; settings: digest of the settings
    that they were read by.
    """

    items: Frame
    quarantined: Frame
    report: TableReport
    records: list[InputRecord]
    settings: str


def ingest_items(
    engine: Engine,
    settings: Settings,
    last: LastSet | None,
    folder: Path,
    clock: datetime,
    latest: datetime,
    scope: Scope,
) -> ItemTables:
    """Write items and snapshots of a new set into `folder`.

    last: the last set, whose history of the catalog goes on. clock: the ingest's; latest: the
    last moment that is not the future; both in UTC without zone."""
    if last is not None and scope == "log":
        return _unchanged(engine, last, list(last.ledger.items), folder)
    sources = settings.lake.items
    digest = settings_digests(settings)["items"]
    asked = [wanted("items", source) for source in sources]
    files = find_files("items", asked)
    inputs = inputs_of(files, sources)
    if last is not None and scope == "new":
        found = compare(last.ledger.items, inputs)
        if last.ledger.settings["items"] == digest and not found.new and not found.differing:
            return _unchanged(engine, last, found.known, folder)

    records = [record_of(each) for each in inputs]
    check = partial(check_items, engine, max_text_chars=settings.lake.max_text_chars, latest=latest)
    raw = read_files(engine, files, asked)
    checked = check_files(engine, "items", raw, sources, check, list(ITEM_INPUTS), whole=True)
    rows = engine.persist(checked.good.with_columns(place_of(nw.col(FILE)).alias(PLACE)))
    newest = engine.persist(unique_items(rows))
    kept = count(engine, newest)
    items = newest.select(*ITEM_COLUMNS)
    if last is not None:
        items = _created(items, scan_set(engine, last.folder, "items"), clock)
        items = engine.persist(nw.concat([items, _delisted(engine, last, items)]))
    engine.write_parquet(items.sort("item_id"), table_at(folder, "items"))
    earlier = None if last is None else scan_set(engine, last.folder, "snapshots")
    history = catalog_history(engine, rows, newest, earlier, clock)
    engine.write_parquet(history.sort("item_id", "since"), table_at(folder, "snapshots"))
    quarantined = engine.persist(quarantine(engine, checked))
    return ItemTables(
        items=items,
        quarantined=quarantined,
        report=table_report(
            engine, checked, quarantined, kept=kept, duplicates=count(engine, rows) - kept
        ),
        records=used_records(records, checked),
        settings=digest,
    )


def _created(items: Frame, before: Frame, clock: datetime) -> Frame:
    """The items; one that the last set lacks, and whose source is silent, was created just now."""
    known = before.select("item_id", _since="created_at", _known=nw.lit(True))
    found = items.join(known, on="item_id", how="left")
    now = nw.lit(clock).cast(UTC_MOMENT)
    since = nw.when(nw.col("_known").is_null()).then(now).otherwise(nw.col("_since"))
    return found.with_columns(created_at=nw.coalesce("created_at", since)).select(*ITEM_COLUMNS)


def _delisted(engine: Engine, last: LastSet, items: Frame) -> Frame:
    """Items of the last set that the files have no more: kept, but not to be had.

    Shoppers have looked at them and bought them; what that says of their taste stays true.
    """
    before = scan_set(engine, last.folder, "items").join(items, on="item_id", how="anti")
    return before.with_columns(available=nw.lit(False)).select(*ITEM_COLUMNS)


def _unchanged(
    engine: Engine, last: LastSet, records: list[InputRecord], folder: Path
) -> ItemTables:
    keep(last.folder, folder, "items", "snapshots")
    quarantined = scan_set(engine, last.folder, "quarantine").filter(nw.col("table") == "items")
    return ItemTables(
        items=scan_set(engine, last.folder, "items"),
        quarantined=quarantined,
        report=last.table_report("items"),
        records=records,
        settings=last.ledger.settings["items"],
    )
