"""OTTO: clicks, additions to the cart and orders of otto.de, a JSON object a user's session."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import paths
from vitrina.lake.engine import DuckDBEngine

TRAIN_FILE: Final = DataFile(
    "train",
    "{}train.jsonl",
    ("session", "events"),
    form="jsonl",
    rows={"otto-recsys-train.jsonl": 12_899_779, "train.jsonl": 12_899_779},
)
TEST_FILE: Final = DataFile(
    "test",
    "{}test.jsonl",
    ("session", "events"),
    form="jsonl",
    rows={"otto-recsys-test.jsonl": 1_671_803, "test.jsonl": 1_671_803},
    required=False,
)


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog: the ids of all articles that have events."""
    every = [*files["train"], *files.get("test", ())]
    engine.write_parquet(engine.query(_CATALOG, [paths(every)]), into / ITEMS)


_CATALOG: Final = """
    SELECT DISTINCT unnest(events).aid::VARCHAR AS item_id
    FROM read_json(?, format = 'newline_delimited', columns = {'events': 'STRUCT(aid BIGINT)[]'})
    ORDER BY item_id
"""

OTTO: Final = Dataset(
    name="otto",
    title="OTTO",
    about="5 weeks of otto.de in 2022: clicks, additions to the cart, orders; ids only",
    events=230_567_389,
    items=1_855_603,
    users=14_571_582,
    size="two JSON Lines files, 11.3 GB and 0.8 GB unpacked",
    terms="CC BY 4.0: name the source",
    address="https://www.kaggle.com/datasets/otto/recsys-dataset",
    decisions=(
        "A 'session' of OTTO is everything that one user did, so it is our user_id; sessions are "
        "made by the pause between events, as everywhere.",
        "'clicks' is click, 'carts' is add_to_cart, 'orders' is purchase.",
        "The test file, if it is there, is read as well: its week follows the training weeks.",
        "Articles are ids: there is no title, category or price.",
    ),
    files=(TRAIN_FILE, TEST_FILE),
    events_from=(
        {
            "files": ["train", "test"],
            "unnest": "events",
            "columns": {
                "user_id": "session",
                "item_id": "aid",
                "timestamp": {"column": "ts", "unit": "ms"},
                "event_type": "type",
            },
            "event_types": {"clicks": "click", "carts": "add_to_cart", "orders": "purchase"},
        },
    ),
    prepare=prepare,
)
