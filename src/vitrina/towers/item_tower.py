"""The item tower: what an item is → a unit vector."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrina.towers.features import POPULARITY_FEATURES, TEXT_BUCKETS, ItemFeatures

HIDDEN = 128
TEXT_DIM = 32
EMBED_CHUNK = 8192


def field_width(cardinality: int) -> int:
    """Embedding width of a categorical field: 5 · ⁴√cardinality, between 4 and 48."""
    return int(min(48, max(4, round(5 * cardinality**0.25))))


class ItemTower(nn.Module):
    """Content, text, popularity as of a moment, and the item's id → unit vector [dim].

    The id table starts from a factorisation of who bought what (`towers.factors`), so that the
    little training time goes into what the factors do not know: content and time. It stays as it
    is; a linear map learns how to read it. Items without events have a zero row there and stand
    by their content alone, which is also what `id_dropout` trains for.
    """

    ngrams: Tensor
    ngram_offsets: Tensor
    categorical: Tensor
    id_table: Tensor

    def __init__(
        self, features: ItemFeatures, id_table: NDArray[np.float32], dim: int, id_dropout: float
    ) -> None:
        """id_table float32 [items, id_dim]."""
        super().__init__()
        self.id_dropout = id_dropout
        for name, values in (
            ("categorical", features.categorical),
            ("ngrams", features.ngrams),
            ("ngram_offsets", features.offsets),
            ("id_table", id_table),
        ):
            self.register_buffer(name, torch.from_numpy(values))
        self.fields = nn.ModuleList(
            nn.Embedding(cardinality, field_width(cardinality))
            for cardinality in features.cardinalities
        )
        self.text = nn.EmbeddingBag(TEXT_BUCKETS, TEXT_DIM, mode="mean")
        for table in (*self.fields, self.text):
            nn.init.normal_(table.weight, std=0.1)
        id_dim = id_table.shape[1]
        width = sum(field_width(c) for c in features.cardinalities)
        self.content = nn.Sequential(
            nn.Linear(width + TEXT_DIM + POPULARITY_FEATURES + id_dim, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, dim),
        )
        self.from_id = nn.Linear(id_dim, dim, bias=False)
        if id_dim == dim:
            nn.init.eye_(self.from_id.weight)
        self.from_popularity = nn.Linear(POPULARITY_FEATURES, dim)

    def forward(self, rows: Tensor, popularity: Tensor) -> Tensor:
        """rows int64 [n]: items; popularity [n, POPULARITY_FEATURES] → unit vectors [n, dim]."""
        ids = self.id_table[rows]
        if self.training:
            ids = ids * (torch.rand(len(rows), 1) >= self.id_dropout)
        popularity = (popularity - 1.0) / 2.0
        fields = [table(self.categorical[rows, i]) for i, table in enumerate(self.fields)]
        content = torch.cat([*fields, self._text(rows), popularity, ids], dim=1)
        return F.normalize(
            self.content(content) + self.from_id(ids) + self.from_popularity(popularity), dim=1
        )

    def _text(self, rows: Tensor) -> Tensor:
        """Mean n-gram vector of each row [n, TEXT_DIM]; zero for a row without text."""
        starts = self.ngram_offsets[rows]
        lengths = self.ngram_offsets[rows + 1] - starts
        offsets = torch.cumsum(lengths, 0) - lengths
        within = torch.arange(int(lengths.sum())) - torch.repeat_interleave(offsets, lengths)
        ngrams = self.ngrams[torch.repeat_interleave(starts, lengths) + within]
        vectors: Tensor = self.text(ngrams, offsets)
        return vectors

    @torch.no_grad()
    def embed_catalog(self, popularity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors float32 [items, dim] of the whole catalog, given popularity as of now."""
        was_training = self.training
        self.eval()
        rows = torch.arange(len(self.categorical))
        features = torch.from_numpy(popularity)
        vectors = torch.cat(
            [self(chunk, features[chunk]) for chunk in torch.split(rows, EMBED_CHUNK)]
        )
        self.train(was_training)
        return vectors.numpy()


def initial_log_scale(temperature: float) -> float:
    """ln(1 / temperature), what the learnt temperature is stored as."""
    return math.log(1.0 / temperature)
