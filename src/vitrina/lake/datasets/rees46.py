"""REES46: clickstreams of three shops, one CSV a month, the product's facts in every event."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import csv_table, paths
from vitrina.lake.engine import DuckDBEngine

MAX_CENTS: Final = 10**9

COLUMNS: Final = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)
MULTI_FILES: Final = DataFile(
    "events",
    "20{}.csv",
    COLUMNS,
    rows={
        "2019-Oct.csv": 42_448_764,
        "2019-Nov.csv": 67_501_979,
        "2019-Dec.csv": 67_542_878,
        "2020-Jan.csv": 55_967_041,
        "2020-Feb.csv": 55_318_565,
        "2020-Mar.csv": 56_341_241,
        "2020-Apr.csv": 66_589_268,
    },
)
COSMETICS_FILES: Final = DataFile(
    "events",
    "20{}.csv",
    COLUMNS,
    rows={
        "2019-Oct.csv": 4_102_283,
        "2019-Nov.csv": 4_635_837,
        "2019-Dec.csv": 3_533_286,
        "2020-Jan.csv": 4_264_752,
        "2020-Feb.csv": 4_156_682,
    },
)
ELECTRONICS_FILE: Final = DataFile("events", "events.csv", COLUMNS, rows={"events.csv": 885_129})


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog: what the last event of each product says, and its price over time."""
    engine.write_parquet(engine.query(_CATALOG, [paths(files["events"])]), into / ITEMS)


# An item has a row for each change of the price with which its days begin. The first second of a
# day and its price are one number, whose minimum takes little room: there are many days of many
# products. What events of one second say differently is settled by value, so that every run gives
# the same catalog.
_CATALOG: Final = f"""
    WITH events AS (
        SELECT *, epoch(event_time[:19]::TIMESTAMP)::BIGINT AS second,
               (100 * try_cast(price AS DOUBLE))::BIGINT AS cents
        FROM {csv_table(MULTI_FILES)} WHERE product_id IS NOT NULL
    ), days AS (
        SELECT product_id, second // 86400 AS day, category_id, category_code, brand,
               max(second) AS last,
               min(second * {MAX_CENTS} + cents) FILTER (WHERE cents < {MAX_CENTS}) AS first
        FROM events GROUP BY product_id, day, category_id, category_code, brand
    ), latest AS (
        SELECT product_id,
               arg_max(category_id, (last, category_id)) AS category_id,
               replace(arg_max(category_code, (last, category_code)), '_', ' ') AS category,
               arg_max(brand, (last, brand)) AS brand
        FROM days GROUP BY product_id
    ), prices AS (
        SELECT product_id, min(first) // {MAX_CENTS} AS second, min(first) % {MAX_CENTS} AS cents
        FROM days GROUP BY product_id, day
        QUALIFY cents IS DISTINCT FROM lag(cents) OVER (PARTITION BY product_id ORDER BY day)
    )
    SELECT product_id AS item_id,
           nullif(concat_ws(' ', brand, split_part(category, '.', -1)), '') AS title,
           coalesce(replace(category, '.', ' > '), category_id) AS category_path,
           cents / 100 AS price,
           brand,
           make_timestamp(second * 1_000_000) AS observed_at
    FROM latest JOIN prices USING (product_id) ORDER BY item_id, observed_at
"""

_EVENTS: Final = {
    "files": ["events"],
    "columns": {
        "user_id": "user_id",
        "session_id": "user_session",
        "item_id": "product_id",
        "event_type": "event_type",
        "timestamp": "event_time",
        "value": "price",
    },
    "event_types": {"cart": "add_to_cart"},
}
_DECISIONS: Final = (
    "There is no catalog: an item is what the last event of its product says, its title the brand "
    "and the innermost category, for products have no names. Its price has a history: the first "
    "event of each day says what it was.",
    "category_path is category_code, or category_id where there is no code.",
    "'cart' is add_to_cart; remove_from_cart is kept with weight 0. An event's value is the price.",
)
_TERMS: Final = (
    "free to use; name the source: link to its page on Kaggle and to the REES46 Marketing Platform"
)
_WEIGHTS: Final = {
    "view": 1.0,
    "add_to_cart": 3.0,
    "purchase": 5.0,
    "remove_from_cart": 0.0,
}

REES46_MULTI: Final = Dataset(
    name="rees46-multi",
    title="REES46, multi-category shop",
    about="7 months (October 2019 to April 2020) of a large shop that sells everything",
    events=411_709_736,
    items=386_299,
    users=15_639_803,
    size="two months (109,950,743 events) are on Kaggle, 14.7 GB unpacked; REES46 has the others",
    terms=_TERMS,
    address="https://www.kaggle.com/datasets/mkechinov/"
    "ecommerce-behavior-data-from-multi-category-store",
    decisions=_DECISIONS,
    files=(MULTI_FILES,),
    events_from=(_EVENTS,),
    prepare=prepare,
    settings={"events": {"weights": _WEIGHTS}},
)

REES46_ELECTRONICS: Final = Dataset(
    name="rees46-electronics",
    title="REES46, electronics shop",
    about="5 months of a shop for electronics",
    events=885_129,
    items=53_453,
    users=407_283,
    size="one CSV file",
    terms=_TERMS,
    address="https://www.kaggle.com/datasets/mkechinov/"
    "ecommerce-events-history-in-electronics-store",
    decisions=_DECISIONS,
    files=(ELECTRONICS_FILE,),
    events_from=(_EVENTS,),
    prepare=prepare,
    settings={"events": {"weights": _WEIGHTS}},
)

REES46_COSMETICS: Final = Dataset(
    name="rees46-cosmetics",
    title="REES46, cosmetics shop",
    about="5 months (October 2019 to February 2020) of a shop for cosmetics",
    events=20_692_840,
    items=54_571,
    users=1_639_358,
    size="5 CSV files, 2.4 GB unpacked",
    terms=_TERMS,
    address="https://www.kaggle.com/datasets/mkechinov/ecommerce-events-history-in-cosmetics-shop",
    decisions=_DECISIONS,
    files=(COSMETICS_FILES,),
    events_from=(_EVENTS,),
    prepare=prepare,
    settings={"events": {"weights": _WEIGHTS}},
)
