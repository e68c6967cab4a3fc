"""A downloaded data set in a folder, and the way of a user with it: set up, then ingest."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lake.lake_shop import rows
from vitrina.cli.settings_file import settings_toml
from vitrina.lake.datasets.registry import dataset_named
from vitrina.lake.datasets.set_up import set_up
from vitrina.lake.ingest import ingest
from vitrina.lake.report import IngestReport
from vitrina.settings import load_settings


def write_copy(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files as a download has them; a name ending in .gz is compressed."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(plain) if name.endswith(".gz") else plain)
    return folder


def ingest_copy(home: Path, name: str, place: Path | None) -> IngestReport:
    """Set the data set up in `home` through the text of a vitrina.toml, and ingest it."""
    values = set_up(dataset_named(name), place, home / "data/prepared")
    file = home / "vitrina.toml"
    file.write_text(settings_toml(values | {"paths": {"lake": "lake"}}))
    return ingest(load_settings(file, {}))


def items_of(home: Path) -> dict[str, dict[str, Any]]:
    """The lake's items by id, without the columns that are null."""
    return {
        item["item_id"]: {name: value for name, value in item.items() if value is not None}
        for item in rows(home, "items")
    }


def events_of(home: Path, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of the lake's events, oldest first."""
    return [tuple(event[name] for name in columns) for event in rows(home, "events")]
