"""YooChoose (RecSys Challenge 2015): clicks and purchases of a European shop, in sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import csv_table, paths
from vitrina.lake.engine import DuckDBEngine

CLICKS_FILE: Final = DataFile(
    "clicks",
    "yoochoose-clicks.dat",
    ("session", "moment", "item", "category"),
    header=False,
    rows={"yoochoose-clicks.dat": 33_003_944},
)
BUYS_FILE: Final = DataFile(
    "buys",
    "yoochoose-buys.dat",
    ("session", "moment", "item", "price", "quantity"),
    header=False,
    rows={"yoochoose-buys.dat": 1_150_753},
)


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog: category and brand from the clicks' contexts, price from the buys."""
    catalog = engine.query(_CATALOG, [paths(files["clicks"]), paths(files["buys"])])
    engine.write_parquet(catalog, into / ITEMS)


# The context of a click: "S" a special offer, 0 unknown, 1 to 12 a category, others a brand.
_CATALOG: Final = f"""
    WITH contexts AS (
        SELECT item, category, try_cast(category AS BIGINT) AS code, count(*) AS clicks
        FROM {csv_table(CLICKS_FILE)} GROUP BY item, category
    ), clicked AS (
        SELECT item,
               arg_max(category, (clicks, code)) FILTER (WHERE code BETWEEN 1 AND 12) AS category,
               arg_max(category, (clicks, code)) FILTER (WHERE code > 12) AS brand
        FROM contexts GROUP BY item
    ), bought AS (
        SELECT item, arg_max(amount, (moment, amount)) FILTER (WHERE amount > 0) AS price
        FROM (SELECT *, price::DOUBLE AS amount FROM {csv_table(BUYS_FILE)}) GROUP BY item
    )
    SELECT coalesce(clicked.item, bought.item) AS item_id, category AS category_path, price, brand
    FROM clicked FULL JOIN bought ON clicked.item = bought.item ORDER BY item_id
"""

YOOCHOOSE: Final = Dataset(
    name="yoochoose",
    title="YooChoose (RecSys Challenge 2015)",
    about="months of 2014 at a European shop: click sessions, some ending in purchases",
    events=34_154_697,
    items=52_739,
    users=None,
    size="two .dat files used, in one archive",
    terms="CC BY-NC-ND 4.0: name the source, no commercial use, no derivatives",
    address="https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015",
    decisions=(
        "Sessions have no users: each is a visitor of its own.",
        "An item's category is the category (1 to 12) most often clicked it under, its brand the "
        "most frequent brand; special offers ('S') and unknown contexts (0) are neither.",
        "An item's price is the last one paid above 0; a purchase's value is its unit price.",
        "The challenge's test clicks (yoochoose-test.dat) are not read.",
    ),
    files=(CLICKS_FILE, BUYS_FILE),
    events_from=(
        {
            "files": ["clicks"],
            "header": list(CLICKS_FILE.columns),
            "delimiter": ",",
            "columns": {
                "session_id": "session",
                "item_id": "item",
                "timestamp": "moment",
                "event_type": {"value": "click"},
            },
        },
        {
            "files": ["buys"],
            "header": list(BUYS_FILE.columns),
            "delimiter": ",",
            "columns": {
                "session_id": "session",
                "item_id": "item",
                "timestamp": "moment",
                "event_type": {"value": "purchase"},
                "value": "price",
            },
        },
    ),
    prepare=prepare,
)
