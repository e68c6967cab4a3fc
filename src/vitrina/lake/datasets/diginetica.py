"""Diginetica (CIKM Cup 2016, track 2): item views and purchases of a shop, January–June 2016."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import EVENTS, ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import csv_table, paths
from vitrina.lake.engine import DuckDBEngine

VIEWS_FILE: Final = DataFile(
    "views",
    "train-item-views.csv",
    ("sessionId", "userId", "itemId", "timeframe", "eventdate"),
    delimiter=";",
    rows={"train-item-views.csv": 1_235_380},
)
PURCHASES_FILE: Final = DataFile(
    "purchases",
    "train-purchases.csv",
    ("sessionId", "userId", "timeframe", "eventdate", "ordernumber", "itemId"),
    delimiter=";",
    rows={"train-purchases.csv": 18_025},
)
PRODUCTS_FILE: Final = DataFile(
    "products",
    "products.csv",
    ("itemId", "pricelog2", "product.name.tokens"),
    delimiter=";",
    rows={"products.csv": 184_047},
)
CATEGORIES_FILE: Final = DataFile(
    "categories",
    "product-categories.csv",
    ("itemId", "categoryId"),
    delimiter=";",
    rows={"product-categories.csv": 184_047},
)


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog (two files joined) and the events (moments put together)."""
    catalog = engine.query(_CATALOG, [paths(files["products"]), paths(files["categories"])])
    engine.write_parquet(catalog, into / ITEMS)
    events = engine.query(_EVENTS, [paths(files["views"]), paths(files["purchases"])])
    engine.write_parquet(events, into / EVENTS)


_CATALOG: Final = f"""
    WITH products AS (FROM {csv_table(PRODUCTS_FILE)}),
    categories AS (
        SELECT itemId, min(categoryId) AS categoryId FROM {csv_table(CATEGORIES_FILE)}
        GROUP BY itemId
    )
    SELECT products.itemId AS item_id,
           replace("product.name.tokens", ',', ' ') AS description,
           categoryId AS category_path,
           CASE WHEN pricelog2::DOUBLE > 0 THEN round(2 ** pricelog2::DOUBLE, 2) END AS price
    FROM products LEFT JOIN categories ON categories.itemId = products.itemId ORDER BY item_id
"""

_EVENTS: Final = f"""
    WITH events AS (
        SELECT sessionId, userId, itemId, timeframe, eventdate, 'view' AS event_type
        FROM {csv_table(VIEWS_FILE)}
        UNION ALL
        SELECT sessionId, userId, itemId, timeframe, eventdate, 'purchase'
        FROM {csv_table(PURCHASES_FILE)}
    )
    SELECT nullif(userId, 'NA') AS user_id, nullif(sessionId, 'NA') AS session_id,
           nullif(itemId, 'NA') AS item_id, event_type,
           (eventdate::DATE + to_milliseconds(timeframe::BIGINT))::TIMESTAMP AS timestamp
    FROM events
"""

DIGINETICA: Final = Dataset(
    name="diginetica",
    title="Diginetica (CIKM Cup 2016)",
    about="5 months of 2016 at a shop: item views and purchases in sessions, hashed names",
    events=1_253_405,
    items=184_047,
    users=None,
    size="an archive of CSV files, four of them used",
    terms="no licence is stated; published for the participants of CIKM Cup 2016, track 2",
    address="https://competitions.codalab.org/competitions/11161",
    decisions=(
        "An event's moment is its day's midnight plus the milliseconds since its session began: "
        "order within a session is exact, order of one day's sessions is not known.",
        "A userId of NA is no user: such sessions are visitors of their own.",
        "A price is 2 to the power of pricelog2, in an unnamed currency; 0 is unknown.",
        "Names are published as hashes of their words, which become the description.",
        "Search queries and clicks on results are not read.",
    ),
    files=(VIEWS_FILE, PURCHASES_FILE, PRODUCTS_FILE, CATEGORIES_FILE),
    prepare=prepare,
)
