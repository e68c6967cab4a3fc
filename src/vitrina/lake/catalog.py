"""The items table as plain columns: what the towers and the bundle read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import narwhals as nw
import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.snapshots import as_of
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import scan_table
from vitrina.schema import CATEGORY_SEPARATOR

_TEXTS = (
    "item_id",
    "title",
    "description",
    "category_path",
    "currency",
    "brand",
    "location",
    "condition",
    "image_url",
    "attributes",
)


ALWAYS_THERE: Final = np.iinfo(np.int64).min
"""`created_us` of an item of which nobody knows since when the shop has it."""


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """n items sorted by item_id, one sequence a column; row i is item i everywhere.

    title, description: "" where unknown. category_path: the levels, broadest first.
    price float32 [n], NaN where unknown. available bool [n], true where unknown. created_us int64
    [n], ALWAYS_THERE where unknown.
    """

    item_ids: list[str]
    title: list[str]
    description: list[str]
    category_path: list[list[str]]
    price: NDArray[np.float32]
    currency: list[str | None]
    brand: list[str | None]
    location: list[str | None]
    condition: list[str | None]
    image_url: list[str | None]
    available: NDArray[np.bool_]
    created_us: NDArray[np.int64]
    attributes: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.item_ids)


def load_catalog(lake: Path, *, as_of_us: int | None = None) -> CatalogTable:
    """The lake's items, with the newest prices and availability or those as of a moment.

    as_of_us: what was known before it. An item that nothing was known of is not to be had then,
    at no price. Everything else of an item is its newest state. Raises DataError when nothing was
    ingested yet.
    """
    with DuckDBEngine() as engine:
        items = scan_table(engine, lake, "items")
        available = nw.col("available").fill_null(True)
        if as_of_us is not None:
            state = as_of(engine, lake, to_datetime(as_of_us - 1)).drop("since")
            items = items.drop("price", "available").join(state, on="item_id", how="left")
            available = nw.col("available").fill_null(False)
        table = engine.collect(items.with_columns(available).sort("item_id"))
    columns = {name: table[name].to_pylist() for name in _TEXTS}
    return CatalogTable(
        item_ids=columns["item_id"],
        title=[title or "" for title in columns["title"]],
        description=[description or "" for description in columns["description"]],
        category_path=[_levels(path) for path in columns["category_path"]],
        price=table["price"].to_numpy().astype(np.float32),
        currency=columns["currency"],
        brand=columns["brand"],
        location=columns["location"],
        condition=columns["condition"],
        image_url=columns["image_url"],
        available=table["available"].to_numpy(),
        created_us=table["created_at"].cast(pa.int64()).fill_null(ALWAYS_THERE).to_numpy(),
        attributes=[orjson.loads(text) if text else {} for text in columns["attributes"]],
    )


def count_items(lake: Path) -> int:
    """How many items the lake has. Raises DataError when nothing was ingested yet."""
    with DuckDBEngine() as engine:
        counted = engine.collect(scan_table(engine, lake, "items").select(items=nw.len()))
    return int(counted["items"][0].as_py())


def catalog_rows(lake: Path) -> list[dict[str, Any]]:
    """The lake's items as rows, sorted by item_id, keyed as `schema.ITEM_COLUMNS`.

    Raises DataError when nothing was ingested yet.
    """
    with DuckDBEngine() as engine:
        items = scan_table(engine, lake, "items").sort("item_id")
        rows: list[dict[str, Any]] = engine.collect(items).to_pylist()
    return rows


def _levels(path: str | None) -> list[str]:
    return [level for level in (path or "").split(CATEGORY_SEPARATOR) if level]
