"""From candidates to the JSON of an answer, without parsing the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import numpy as np
import orjson

from vitrina.bundle.bundle import Bundle
from vitrina.rank.candidates import SOURCES, Candidates

_SOURCES = tuple(source.encode() for source in SOURCES)


def hydrate(bundle: Bundle, best: Candidates, first: int = 1) -> list[orjson.Fragment]:
    """One JSON object an item: its catalog fields, then score, source and position (from `first`).

    The catalog's line is spliced in as it stands in the bundle: it is a JSON object, so adding to
    it takes a comma and no parser.
    """
    return _shown(bundle.catalog.blobs(best.rows), best, first)


def hydrate_ids(bundle: Bundle, best: Candidates, first: int = 1) -> list[orjson.Fragment]:
    """The same with item ids only: what is left when the catalog cannot be read."""
    ids = ({"item_id": bundle.item_ids[row]} for row in best.rows.tolist())
    return _shown(map(orjson.dumps, ids), best, first)


def _shown(items: Iterable[bytes], best: Candidates, first: int) -> list[orjson.Fragment]:
    """The items' JSON objects with what the request adds. A score that is no number is null."""
    scores = orjson.dumps(np.round(best.scores.astype(np.float64), 6).tolist())[1:-1].split(b",")
    sources = [_SOURCES[source] for source in best.sources.tolist()]
    return [
        orjson.Fragment(
            b'%b,"score":%b,"source":"%b","position":%d}' % (item[:-1], score, source, position)
        )
        for item, score, source, position in zip(items, scores, sources, count(first))
    ]
