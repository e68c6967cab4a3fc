"""The events as columns of shoppers' histories: what the state's import takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.shoppers import shopper_key
from vitrina.lake.tables import scan_table


@dataclass(frozen=True, slots=True)
class HistoryColumns:
    """n events, in no order. keys: history keys (`Event.history_key`); moments in µs, UTC."""

    keys: Sequence[str]
    item_ids: Sequence[str]
    event_types: Sequence[str]
    timestamps_us: Sequence[int]

    def __len__(self) -> int:
        return len(self.keys)


def load_history_columns(lake: Path) -> HistoryColumns:
    """All events of the lake. Raises DataError when nothing was ingested yet."""
    with DuckDBEngine() as engine:
        events = scan_table(engine, lake, "events")
        table = engine.collect(
            events.select("item_id", "event_type", "timestamp", key=shopper_key())
        )
    return HistoryColumns(
        keys=_texts(table["key"]),
        item_ids=_texts(table["item_id"]),
        event_types=_texts(table["event_type"]),
        timestamps_us=table["timestamp"].cast("int64").to_numpy().tolist(),
    )


def _texts(column: pa.ChunkedArray) -> list[str]:
    """A text column as a list in which equal texts are one object: ids repeat a lot."""
    encoded = column.combine_chunks().dictionary_encode()
    distinct = np.array(encoded.dictionary.to_pylist(), dtype=object)
    texts: list[str] = distinct[encoded.indices.to_numpy()].tolist()
    return texts
