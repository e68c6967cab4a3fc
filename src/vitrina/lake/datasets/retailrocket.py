"""RetailRocket: views, additions to the cart and transactions of a real shop, May–September 2015.

The catalog is published as a log of properties (`timestamp, itemid, property, value`), in which
everything but `categoryid` and `available` is hashed, and a category tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import csv_table, paths
from vitrina.lake.engine import DuckDBEngine

EVENT_FILE: Final = DataFile(
    "events",
    "events.csv",
    ("timestamp", "visitorid", "event", "itemid", "transactionid"),
    rows={"events.csv": 2_756_101},
)
PROPERTY_FILES: Final = DataFile(
    "properties",
    "item_properties_part{}.csv",
    ("timestamp", "itemid", "property", "value"),
    rows={
        "item_properties_part1.csv": 10_999_999,
        "item_properties_part2.csv": 9_275_903,
    },
)
TREE_FILE: Final = DataFile(
    "tree", "category_tree.csv", ("categoryid", "parentid"), rows={"category_tree.csv": 1_669}
)


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog: each item's last known category, and its availability over time."""
    catalog = engine.query(
        _CATALOG,
        [paths(files["tree"]), paths(files["properties"]), paths(files["events"])],
    )
    engine.write_parquet(catalog, into / ITEMS)


# Paths grow from the roots down, so that a category that is its own ancestor cannot loop.
# An item has a row for each change of its availability; the category is the last one in all.
_CATALOG: Final = f"""
    WITH RECURSIVE tree AS (FROM {csv_table(TREE_FILE)}),
    category AS (
        SELECT categoryid, categoryid AS path FROM tree WHERE parentid IS NULL
        UNION ALL
        SELECT tree.categoryid, category.path || ' > ' || tree.categoryid
        FROM tree JOIN category ON tree.parentid = category.categoryid
    ),
    properties AS MATERIALIZED (
        SELECT itemid, property, value, timestamp::BIGINT AS moment
        FROM {csv_table(PROPERTY_FILES)} WHERE property IN ('categoryid', 'available')
    ),
    latest AS (
        SELECT itemid,
               arg_max(value, moment) FILTER (WHERE property = 'categoryid') AS categoryid
        FROM properties GROUP BY itemid
    ),
    availability AS (
        SELECT itemid, moment, value = '1' AS available FROM properties
        WHERE property = 'available'
        QUALIFY value IS DISTINCT FROM lag(value) OVER (PARTITION BY itemid ORDER BY moment)
    ),
    seen AS (SELECT DISTINCT itemid FROM {csv_table(EVENT_FILE)})
    SELECT coalesce(latest.itemid, seen.itemid) AS item_id,
           coalesce(category.path, latest.categoryid) AS category_path,
           available,
           make_timestamp_ms(moment) AS observed_at
    FROM latest FULL JOIN seen ON latest.itemid = seen.itemid
    LEFT JOIN category ON category.categoryid = latest.categoryid
    LEFT JOIN availability ON availability.itemid = latest.itemid
    ORDER BY item_id, observed_at
"""

RETAILROCKET: Final = Dataset(
    name="retailrocket",
    title="RetailRocket",
    about="4.5 months of a real shop: views, additions to the cart, transactions",
    events=2_756_101,
    items=417_053,
    users=1_407_580,
    size="305 MB (zip)",
    terms="CC BY-NC-SA 4.0: name the source, no commercial use, share alike",
    address="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    decisions=(
        "A visitor is a user; 'addtocart' is add_to_cart and 'transaction' is purchase.",
        "An item's category is the last one known; category_path is the way to it from the root of "
        "the tree, in ids. Availability has its history: a snapshot wherever it changed.",
        "Items that have events and no properties are in the catalog with their id alone.",
        "The other properties are hashed and left out: items have no title and no price.",
    ),
    files=(EVENT_FILE, PROPERTY_FILES, TREE_FILE),
    events_from=(
        {
            "files": ["events"],
            "columns": {
                "user_id": "visitorid",
                "item_id": "itemid",
                "event_type": "event",
                "timestamp": {"column": "timestamp", "unit": "ms"},
            },
            "event_types": {"addtocart": "add_to_cart", "transaction": "purchase"},
        },
    ),
    prepare=prepare,
)
