"""From candidates to the JSON of an answer, without parsing the catalog."""

from __future__ import annotations

import orjson

from vitrina.bundle.bundle import Bundle
from vitrina.rank.candidates import SOURCES, Candidates


def hydrate(bundle: Bundle, best: Candidates, first: int = 1) -> list[orjson.Fragment]:
    """One JSON object an item: its catalog fields, then score, source and position (from `first`).

    The catalog's line is spliced in as it stands in the bundle: both ends are JSON objects, so
    joining them takes a comma and no parser.
    """
    return [
        orjson.Fragment(bundle.catalog.blob(row)[:-1] + b"," + shown[1:])
        for row, shown in zip(best.rows.tolist(), _shown(best, first), strict=True)
    ]


def hydrate_ids(bundle: Bundle, best: Candidates, first: int = 1) -> list[orjson.Fragment]:
    """The same with item ids only: what is left when the catalog cannot be read."""
    return [
        orjson.Fragment(orjson.dumps({"item_id": bundle.item_ids[row]})[:-1] + b"," + shown[1:])
        for row, shown in zip(best.rows.tolist(), _shown(best, first), strict=True)
    ]


def _shown(best: Candidates, first: int) -> list[bytes]:
    """What the request adds to each item, as JSON objects. A score that is no number is null."""
    columns = zip(best.scores.tolist(), best.sources.tolist(), strict=True)
    return [
        orjson.dumps({"score": round(score, 6), "source": SOURCES[source], "position": position})
        for position, (score, source) in enumerate(columns, start=first)
    ]
