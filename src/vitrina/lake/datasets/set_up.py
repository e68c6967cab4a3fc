"""From a downloaded data set to the settings that ingest it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from vitrina.errors import DataError
from vitrina.lake.datasets.base import EVENTS, ITEMS, Dataset
from vitrina.lake.engine import DuckDBEngine, first_line


def set_up(dataset: Dataset, place: Path | None, into: Path) -> dict[str, dict[str, Any]]:
    """Write the tables that the data set has to prepare, and return the settings to read it all.

    place: the folder of the download, or one of its files; None for a data set that comes with
    a package. into: where prepared tables go. Returns values by section and key of vitrina.toml;
    addresses are absolute. Raises DataError when files are missing or cannot be read.
    """
    if place is None and dataset.files:
        raise DataError(
            f"Say where {dataset.title} is: download it from {dataset.address} and name the folder."
        )
    found = dataset.require(place.resolve()) if place is not None and dataset.files else {}
    if dataset.prepare is not None:
        try:
            with DuckDBEngine() as engine:
                dataset.prepare(engine, found, into)
        except duckdb.Error as error:
            raise DataError(
                f"{dataset.title} in {place} cannot be read: {first_line(error)} "
                f"'vitrina datasets check {dataset.name} {place}' looks at each file."
            ) from error
    addresses = {role: [str(path) for path in paths] for role, paths in found.items()}
    addresses |= {name: [str(into.resolve() / name)] for name in (ITEMS, EVENTS)}
    lake = {
        "items": [_resolved(source, addresses) for source in dataset.items_from],
        "events": [_resolved(source, addresses) for source in dataset.events_from],
    }
    return {"lake": lake, **{name: dict(keys) for name, keys in dataset.settings.items()}}


def _resolved(source: Mapping[str, Any], addresses: Mapping[str, list[str]]) -> dict[str, Any]:
    """The source with files for roles; the roles of optional files may have none."""
    files = [address for role in source["files"] for address in addresses.get(role, ())]
    return {**source, "files": files}
