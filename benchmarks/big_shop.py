"""A large generated shop: a bundle with an index as it serves, and histories in a state file.

Items lie in clusters whose sizes follow Zipf's law, as does the popularity of items: a history is a
few clusters, and of those the items that many buy. The user tower is untrained, which changes what
is recommended and not what it costs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from vitrina.bundle.manifest import Lineage, define_space
from vitrina.bundle.writer import BundleContents, write_bundle
from vitrina.encoding import EncodedBatch
from vitrina.index.tuning import build_index
from vitrina.schema import CATEGORY_SEPARATOR, DEFAULT_EVENT_WEIGHTS
from vitrina.settings import IndexSettings
from vitrina.space import FloatMatrix, Vectors, normalise
from vitrina.state.sqlite import SqliteState
from vitrina.towers.export import export_user_tower, save_weights
from vitrina.towers.user_tower import UserTower

DIM: Final = 64
MAX_HISTORY: Final = 50
EVENT_TYPES: Final = tuple(DEFAULT_EVENT_WEIGHTS)
TASTES: Final = 3
"""Clusters that a shopper's history comes from."""
LISTED: Final = 20
"""Co-visited items that are kept of each."""
QUERIES: Final = 1_000
"""Shoppers that the index is tuned on."""
FIRST_US: Final = 1_700_000_000_000_000
HOUR_US: Final = 3_600_000_000


class BigShop:
    """Items and their clusters. rows_of: item rows by cluster, most popular first."""

    def __init__(self, items: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        clusters = max(20, items // 500)
        share = 1.0 / np.arange(1, clusters + 1)
        self.share = share / share.sum()
        self.cluster = self.rng.choice(clusters, items, p=self.share)
        centres = self.rng.standard_normal((clusters, DIM)).astype(np.float32)
        noise = self.rng.standard_normal((items, DIM)).astype(np.float32)
        self.values: FloatMatrix = normalise(centres[self.cluster] + 0.6 * noise)
        popularity = items / (1.0 + self.rng.permutation(items))
        self.popularity = popularity.astype(np.float32)
        by_cluster = np.lexsort((-popularity, self.cluster))
        starts = np.searchsorted(self.cluster[by_cluster], np.arange(clusters + 1))
        self.rows_of = [by_cluster[a:b] for a, b in pairwise(starts.tolist())]

    def histories(self, shoppers: int, length: int) -> NDArray[np.int64]:
        """Item rows [shoppers, length]."""
        tastes = self.rng.choice(len(self.share), (shoppers, TASTES), p=self.share)
        cluster = np.take_along_axis(
            tastes, self.rng.integers(TASTES, size=(shoppers, length)), axis=1
        )
        sizes = np.array([len(rows) for rows in self.rows_of])
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        # Squared: the popular ones more often.
        place = (self.rng.random((shoppers, length)) ** 2 * sizes[cluster]).astype(np.int64)
        found: NDArray[np.int64] = np.concatenate(self.rows_of)[starts[cluster] + place]
        return found

    def neighbours(self) -> NDArray[np.int32]:
        """Rows int32 [items, LISTED] that stand in for what is met in the same visits."""
        popular = np.full((len(self.rows_of), LISTED), -1, np.int32)
        for cluster, rows in enumerate(self.rows_of):
            popular[cluster, : len(rows[:LISTED])] = rows[:LISTED]
        found: NDArray[np.int32] = popular[self.cluster]
        return found

    def catalog(self) -> list[dict[str, Any]]:
        """Rows of the items table."""
        prices = np.round(self.rng.lognormal(3, 1, len(self.cluster)), 2).tolist()
        return [
            {
                "item_id": item_id(row),
                "title": f"Article number {row} of a family of {cluster}, in a colour",
                "category_path": CATEGORY_SEPARATOR.join(
                    (f"Department {cluster % 20}", f"Aisle {cluster % 400}", f"Shelf {cluster}")
                ),
                "price": price,
                "currency": "EUR",
                "brand": f"Brand {row % 5000}",
                "available": row % 50 != 7,
            }
            for row, (cluster, price) in enumerate(zip(self.cluster.tolist(), prices, strict=True))
        ]

    def write_bundle(self, folder: Path, made_hours: int = 0) -> Path:
        """The bundle, in a folder of its version's name. made_hours: another one, younger."""
        rng, items = self.rng, len(self.cluster)
        created_at = datetime.fromtimestamp(FIRST_US // 10**6 + 3600 * made_hours, UTC)
        with TemporaryDirectory() as name:
            towers = Path(name)
            save_file({"weight": np.zeros((4, DIM), np.float32)}, towers / "item.safetensors")
            tower = UserTower(DIM, len(EVENT_TYPES), blocks=1, sequential=True).eval()
            save_weights(tower, towers / "user.safetensors")
            sample = encoded(rng, self.histories(8, MAX_HISTORY))
            export_user_tower(tower, towers / "user.onnx", self.values, sample)
            ids = [item_id(row) for row in range(items)]
            space = define_space(ids, self.values, towers / "item.safetensors", created_at)
            vectors = Vectors(space, self.values)
            tastes = self.values[self.histories(QUERIES, 10)].mean(1)
            index, info = build_index(vectors, IndexSettings(), Vectors(space, normalise(tastes)))
            contents = BundleContents(
                created_at=created_at,
                items=self.catalog(),
                vectors=vectors,
                index=index,
                index_info=info,
                popularity=self.popularity,
                repeat_rate=rng.uniform(0.05, 0.6, items).astype(np.float32),
                covisited=self.neighbours(),
                centroid=normalise(self.values.mean(0)),
                item_tower=towers / "item.safetensors",
                user_tower=towers / "user.safetensors",
                encoder=towers / "user.onnx",
                event_types=EVENT_TYPES,
                max_history=MAX_HISTORY,
                lineage=Lineage(
                    code_version="0",
                    data_from="2023-01-01T00:00:00Z",
                    data_until="2023-11-14T00:00:00Z",
                    rows={"items": items},
                    seeds={},
                ),
            )
            return write_bundle(folder / space.version.removeprefix("items_v"), contents)

    def write_histories(self, path: Path, shoppers: int, length: int) -> None:
        """A state file in which each shopper has `length` events, the last of them a purchase."""
        rows = self.histories(shoppers, length).ravel().tolist()
        types = ["view"] * (length - 1) + ["purchase"]
        state = SqliteState(path)
        state.load_histories(
            [user_id(shopper) for shopper in range(shoppers) for _ in range(length)],
            [item_id(row) for row in rows],
            types * shoppers,
            [FIRST_US + HOUR_US * place for place in range(length)] * shoppers,
        )
        state.close()


def item_id(row: int) -> str:
    return f"item-{row:08}"


def user_id(shopper: int) -> str:
    return f"user-{shopper:08}"


def encoded(rng: np.random.Generator, rows: NDArray[np.int64]) -> EncodedBatch:
    """Histories of these item rows [B, L] with made-up types and times."""
    days = np.sort(rng.exponential(30, rows.shape).astype(np.float32), axis=1)[:, ::-1]
    return EncodedBatch(
        rows=rows,
        event_types=rng.integers(len(EVENT_TYPES), size=rows.shape),
        days=days - days[:, -1:],
        mask=np.ones(rows.shape, np.bool_),
    )
