"""A tiny shop's files, and a short way to ingest them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.ingest import ingest
from vitrina.lake.last_set import Scope
from vitrina.lake.report import IngestReport
from vitrina.lake.tables import TableName, scan_table
from vitrina.settings import EventSettings, LakeSettings, PathSettings, Settings

NOW = datetime(2024, 6, 1, tzinfo=UTC)

ITEMS_CSV = """item_id,title,category_path,price,brand
soup,Tomato soup,Grocery > Soup,1.50,Acme
bread,Rye bread,Bakery > Bread,2.25,Mill
milk,Whole milk,Dairy > Milk,0.99,Farm
"""
EVENTS_CSV = """user_id,item_id,event_type,timestamp,value
ann,soup,view,2024-05-01T10:00:00Z,
ann,soup,purchase,2024-05-01T10:05:00Z,1.5
ben,bread,purchase,2024-05-02T11:00:00Z,2.25
"""


def write(path: Path, content: str | bytes) -> str:
    """Write a file and return its address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def shop_settings(folder: Path, items: list[str], events: list[str]) -> Settings:
    return Settings(
        paths=PathSettings(lake=folder / "lake"),
        lake=LakeSettings(items=items, events=events, max_text_chars=1000),
        events=EventSettings(),
    )


def ingest_texts(
    folder: Path,
    *,
    items: str | bytes = ITEMS_CSV,
    events: str | bytes = EVENTS_CSV,
    scope: Scope = "new",
) -> IngestReport:
    """Ingest two CSV files given as text."""
    settings = shop_settings(
        folder,
        [write(folder / "items.csv", items)],
        [write(folder / "events.csv", events)],
    )
    return ingest(settings, now=NOW, scope=scope)


def rows(folder: Path, table: TableName) -> list[dict[str, Any]]:
    """A table of the lake in `folder`: events by moment, the others as written."""
    with DuckDBEngine() as engine:
        frame = scan_table(engine, folder / "lake", table)
        if table == "events":
            frame = frame.sort("timestamp", "event_id")
        written: list[dict[str, Any]] = engine.collect(frame).to_pylist()
    return written
