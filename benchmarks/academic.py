"""Two data sets in the very files that papers on sequential recommendation report on.

Read as training reads any shop: through a lake. Leave-one-out, full ranking, seen items filtered,
cold test items dropped (`vitrina.evaluation.protocols.leave_one_out`), and the same metrics for
whatever is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitrina.evaluation import metrics
from vitrina.evaluation.metrics import DEPTH, Rows
from vitrina.evaluation.protocols import LeaveOneOut
from vitrina.lake.catalog import CatalogTable, load_catalog
from vitrina.lake.datasets.registry import dataset_named
from vitrina.lake.datasets.set_up import set_up
from vitrina.lake.ingest import ingest
from vitrina.lake.sequences import Interactions, load_interactions
from vitrina.settings import Settings

FILES: Final = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-s3rec"
NAMES: Final = {"Beauty": "Beauty", "Sports": "Sports_and_Outdoors"}
SHOWN: Final = ("recall@10", "ndcg@10")
SHOPPERS_AT_ONCE: Final = 512


@dataclass(frozen=True, slots=True)
class Data:
    """type_weights float32 [types]: weight of each event type."""

    interactions: Interactions
    catalog: CatalogTable
    type_weights: NDArray[np.float32]


def make_lake(name: str, folder: Path) -> Path:
    """Ingest a data set into a lake in `folder`. Ends the program where its file is not."""
    file = FILES / f"{NAMES[name]}.txt.gz"
    if not file.exists():
        raise SystemExit(
            f"There is no {file}. 'vitrina datasets show s3rec' says where the files are to be "
            f"had; put {file.name} and its attributes there."
        )
    values: dict[str, Any] = set_up(dataset_named("s3rec"), file, folder / "prepared")
    lake = folder / "lake"
    ingest(Settings.model_validate(values | {"paths": {"lake": lake}}))
    return lake


def read(lake: Path, *, shoppers: int | None = None) -> Data:
    """What training reads. shoppers: only the first ones, to try a benchmark out."""
    weights = Settings.model_validate({}).events.weights
    event_types = sorted(weights)
    catalog = load_catalog(lake)
    interactions = load_interactions(
        lake, before_us=None, item_ids=catalog.item_ids, event_types=event_types
    )
    if shoppers is not None:
        interactions = replace(
            interactions.where(interactions.user < shoppers),
            user_ids=interactions.user_ids[:shoppers],
        )
    return Data(
        interactions, catalog, np.array([weights[each] for each in event_types], np.float32)
    )


def judge_scores(
    scores: Callable[[slice], NDArray[np.float32]], split: LeaveOneOut
) -> dict[str, float]:
    """Means over all shoppers. scores: as of `ranked_lists`."""
    return judge_lists(ranked_lists(scores, split), split)


def ranked_lists(scores: Callable[[slice], NDArray[np.float32]], split: LeaveOneOut) -> Rows:
    """The DEPTH best items of each shopper that they have not met, as `judge_lists` takes them.

    scores: of a part of the split's shoppers, float32 [B, items]; −inf is never recommended.
    """
    ranked = []
    for start in range(0, len(split.users), SHOPPERS_AT_ONCE):
        part = slice(start, start + SHOPPERS_AT_ONCE)
        found = scores(part)
        found[split.met[part].nonzero()] = -np.inf
        ranked.append(best(found))
    return np.concatenate(ranked)


def judge_lists(ranked: Rows, split: LeaveOneOut) -> dict[str, float]:
    """Means over all shoppers. ranked int64 [B, K]: item rows, best first, −1 after the end."""
    accuracy = metrics.accuracy(ranked, split.targets)
    return {name: round(float(accuracy[name].mean()), 5) for name in SHOWN}


def best(scores: NDArray[np.float32]) -> Rows:
    """The DEPTH best columns of each row, best first, −1 where only −inf is left."""
    top = np.argpartition(-scores, DEPTH, axis=1)[:, :DEPTH]
    found = np.take_along_axis(scores, top, 1)
    order = np.argsort(-found, axis=1, kind="stable")
    rows: Rows = np.where(np.isfinite(found), top, -1)
    return np.take_along_axis(rows, order, 1)
