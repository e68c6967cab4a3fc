"""The S3-Rec text form: a line a user, `user item item …`, oldest first, without moments.

The form in which S3-Rec (Zhou et al., CIKM 2020) published its Amazon, Yelp and LastFM data, and
in which later papers on sequential recommendation report. `<name>_item2attributes.json` beside
`<name>.txt` maps items to lists of attribute ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.datasets.base import EVENTS, ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import paths
from vitrina.lake.engine import DuckDBEngine

LAST_DAY: Final = "2014-07-23"
"""The stated day of every user's last event: the Amazon reviews in this form end in July 2014."""

SEQUENCES_FILE: Final = DataFile(
    "sequences",
    "{}.txt",
    form="text",
    rows={"Beauty.txt": 22_363, "Sports_and_Outdoors.txt": 35_598},
)
ATTRIBUTES_FILE: Final = DataFile(
    "attributes", "{}_item2attributes.json", form="text", required=False
)
MAX_LINE_BYTES: Final = 64 * 2**20


def prepare(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write items with their attributes, and events at moments that keep each user's order.

    Raises DataError when there are sequences of several data sets: their ids overlap.
    """
    sequences, attributes = files["sequences"], files.get("attributes", [])
    if len(sequences) > 1:
        raise DataError(
            f"{sequences[0].parent} holds {len(sequences)} data sets of this form, whose ids "
            f"overlap. Name one file instead of the folder: {sequences[0]}."
        )
    engine.run(_READ_SEQUENCES, [paths(sequences)])
    engine.run(
        f"CREATE TABLE attributes AS {_READ_ATTRIBUTES if attributes else _NO_ATTRIBUTES}",
        [paths(attributes)] if attributes else [],
    )
    engine.write_parquet(engine.query(_ITEMS), into / ITEMS)
    engine.write_parquet(engine.query(_EVENTS), into / EVENTS)


_READ_SEQUENCES: Final = f"""
    CREATE TABLE sequences AS
    SELECT words[1] AS user_id, words[2:] AS items FROM (
        SELECT string_split_regex(trim(line), '\\s+') AS words
        FROM read_csv(?, columns = {{'line': 'VARCHAR'}}, delim = chr(1), quote = '', escape = '',
                      header = false, auto_detect = false, max_line_size = {MAX_LINE_BYTES})
        WHERE trim(line) <> ''
    )
"""
_READ_ATTRIBUTES: Final = f"""
    SELECT unnest(json_keys(json)) AS item_id, unnest(json_extract(json, '$.*'))::VARCHAR AS ids
    FROM read_json_objects(?, format = 'unstructured', maximum_object_size = {MAX_LINE_BYTES})
"""
_NO_ATTRIBUTES: Final = "SELECT NULL::VARCHAR AS item_id, NULL::VARCHAR AS ids WHERE false"

_ITEMS: Final = """
    SELECT item_id, '{"attribute_ids": ' || ids || '}' AS attributes
    FROM (SELECT DISTINCT unnest(items) AS item_id FROM sequences)
    LEFT JOIN attributes USING (item_id) ORDER BY item_id
"""
_EVENTS: Final = f"""
    SELECT user_id, item_id, 'purchase' AS event_type,
           DATE '{LAST_DAY}' - (length - place)::INTEGER AS timestamp
    FROM (
        SELECT user_id, unnest(items) AS item_id, generate_subscripts(items, 1) AS place,
               len(items) AS length
        FROM sequences
    )
"""

S3REC: Final = Dataset(
    name="s3rec",
    title="S3-Rec text form",
    about="sequences of item ids, as papers on sequential recommendation exchange them; Beauty: "
    "22,363 users, 12,101 items, 198,502 events",
    events=None,
    items=None,
    users=None,
    size="less than 1 MB a data set",
    terms="those of the data behind it; the Amazon sets are for research",
    address="https://github.com/RUCAIBox/CIKM2020-S3Rec",
    decisions=(
        f"There are no moments. Stated ones keep the order: a user's last event is on {LAST_DAY} "
        "and every earlier one a day before the next, so test_days = 1 holds out the last item of "
        "each user, as papers do. Nothing else about time means anything here.",
        "The events are purchases (in the Amazon sets, reviews).",
        "Attribute ids, if their file is there, become the items' attributes; there are no titles.",
    ),
    files=(ATTRIBUTES_FILE, SEQUENCES_FILE),
    prepare=prepare,
    settings={
        "evaluate": {"test_days": 1},
        # As `benchmarks/quality.py` has it, chosen on Beauty's validation events.
        "train": {
            "objective": "next_item",
            "dim": 128,
            "max_history": 50,
            "dropout": 0.6,
            "history_dropout": 0.25,
            "id_dropout": 0.0,
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
        },
    },
)
