"""A large generated shop: a bundle with an index as it serves, and histories in a state file.

Items come in families of alike ones, families lie in clusters, and the sizes of clusters and the
popularity of items follow Zipf's law. Some directions of the space matter more than others, as in a
trained one: with the spectra below, an index of as many items as the demo's has to search 72 of its
1,024 lists to find .99 of what is nearest to shoppers, where the demo's searches 40.

A history is a few visits, each to one cluster of the shopper's few, where it meets the items that
many buy. The user tower is untrained, and so it answers with the history's mean and its newest
item.
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
from vitrina.towers.user_tower import LAST_SHARE, UserTower

DIM: Final = 64
MAX_HISTORY: Final = 50
EVENT_TYPES: Final = tuple(DEFAULT_EVENT_WEIGHTS)
FAMILY: Final = 20
"""Items in a family, on average."""
CENTRES_SPECTRUM, NOISE_SPECTRUM = 1.3, 1.0
"""How fast the variance falls from one direction to the next, as a power of its number."""
TURNS: Final = 20
"""Clusters differ in which directions their items spread; so many ways there are."""
TASTES: Final = (0.6, 0.3, 0.1)
"""Shares of a shopper's clusters in their visits."""
VISITS_PER_EVENT: Final = 1 / 3
LISTED: Final = 20
"""Co-visited items that are kept of each."""
QUERIES: Final = 1_000
"""Shoppers that the index is tuned on."""
FIRST_US: Final = 1_700_000_000_000_000
HOUR_US: Final = 3_600_000_000


class BigShop:
    """Items and their clusters. rows_of: item rows by cluster, most popular first."""

    def __init__(self, items: int, seed: int = 0) -> None:
        self.rng = rng = np.random.default_rng(seed)
        clusters, families = max(20, items // 500), max(1, items // FAMILY)
        share = 1.0 / np.arange(1, clusters + 1)
        self.share = share / share.sum()
        centres = spread_out(rng, clusters, CENTRES_SPECTRUM)
        family = rng.integers(families, size=items)
        cluster_of = rng.choice(clusters, families, p=self.share)
        noise = 0.8 * spread_out(rng, families, NOISE_SPECTRUM)[family]
        noise += 0.6 * spread_out(rng, items, NOISE_SPECTRUM)
        self.cluster = cluster_of[family]
        for turn in range(TURNS):
            of_turn = self.cluster % TURNS == turn
            axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
            noise[of_turn] = noise[of_turn] @ axes
        self.values: FloatMatrix = normalise(centres[self.cluster] + 0.6 * noise)
        popularity = items / (1.0 + rng.permutation(items))
        self.popularity = popularity.astype(np.float32)
        by_cluster = np.lexsort((-popularity, self.cluster))
        starts = np.searchsorted(self.cluster[by_cluster], np.arange(clusters + 1))
        self.rows_of = [by_cluster[a:b] for a, b in pairwise(starts.tolist())]

    def histories(self, shoppers: int, length: int) -> NDArray[np.int64]:
        """Item rows [shoppers, length], oldest first."""
        rng, clusters = self.rng, len(self.share)
        sizes = np.array([len(rows) for rows in self.rows_of])
        likely = np.where(sizes > 0, self.share, 0)
        tastes = rng.choice(clusters, (shoppers, len(TASTES)), p=likely / likely.sum())
        begins = rng.random((shoppers, length)) < VISITS_PER_EVENT
        visit = np.cumsum(begins, axis=1, dtype=np.int64)
        taste = rng.choice(len(TASTES), (shoppers, length + 1), p=TASTES)
        cluster = np.take_along_axis(tastes, np.take_along_axis(taste, visit, axis=1), axis=1)
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        # Squared: the popular ones more often.
        place = (rng.random((shoppers, length)) ** 2 * sizes[cluster]).astype(np.int64)
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
            histories = self.values[self.histories(QUERIES, 8)]
            queries = normalise(histories.mean(1) + LAST_SHARE * histories[:, -1])
            index, info = build_index(vectors, IndexSettings(), Vectors(space, queries))
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


def spread_out(rng: np.random.Generator, rows: int, spectrum: float) -> FloatMatrix:
    """Normal [rows, DIM], the variance of direction i being i^-spectrum, 1 on average."""
    variance = np.arange(1, DIM + 1) ** -spectrum
    scale = np.sqrt(variance / variance.mean()).astype(np.float32)
    values: FloatMatrix = rng.standard_normal((rows, DIM), np.float32) * scale
    return values


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
