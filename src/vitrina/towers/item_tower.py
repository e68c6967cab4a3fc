"""The item tower: what an item is → a unit vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrina.content import Bags, ItemFeatures
from vitrina.towers.features import FOUR_WEEKS, POPULARITY_FEATURES
from vitrina.towers.text import TextFactors

HIDDEN = 128
TEXT_DIM = 32
EMBED_CHUNK = 8192
MIX_START = 0.002
"""Spread of what the MLP adds to learnt ids at the beginning: next to nothing."""

ID_NOISE = 0.5
"""Length of what is added to the factors that learnt ids begin as, whose length is 1."""


def field_width(cardinality: int) -> int:
    """Embedding width of a categorical field: 5 · ⁴√cardinality, between 4 and 48."""
    return int(min(48, max(4, round(5 * cardinality**0.25))))


class MeanOfBag(nn.Module):
    """The mean vector of an item's codes [width]; zero for an item without any."""

    codes: Tensor
    offsets: Tensor

    def __init__(self, bags: Bags, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(bags.codes))
        self.register_buffer("offsets", torch.from_numpy(bags.offsets))
        self.table = nn.EmbeddingBag(bags.cardinality, width, mode="mean")

    def forward(self, rows: Tensor) -> Tensor:
        """rows int64 [n] → [n, width]."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = torch.cumsum(lengths, 0) - lengths
        within = torch.arange(int(lengths.sum()), device=rows.device)
        within = within - torch.repeat_interleave(offsets, lengths)
        codes = self.codes[torch.repeat_interleave(starts, lengths) + within]
        vectors: Tensor = self.table(codes, offsets)
        return vectors


class Content(nn.Module):
    """What is known of an item without its id: [width] numbers.

    Category levels, brand, condition, location and price bucket, an embedding each; its text; the
    mean of its attributes. Text is the mean of n-grams, learnt here, or, given factors of it, these
    as they are, and a linear map learns how to read them.
    """

    categorical: Tensor
    text_factors: Tensor
    text_words: Tensor

    def __init__(
        self,
        features: ItemFeatures,
        dim: int,
        widths: Sequence[int] | None = None,
        text: TextFactors | None = None,
    ) -> None:
        """widths: of the categorical fields, by their cardinality if not given."""
        super().__init__()
        self.register_buffer("categorical", torch.from_numpy(features.categorical))
        widths = widths or [field_width(cardinality) for cardinality in features.cardinalities]
        self.fields = nn.ModuleList(
            nn.Embedding(cardinality, width)
            for cardinality, width in zip(features.cardinalities, widths, strict=True)
        )
        self.text = MeanOfBag(features.text, TEXT_DIM) if text is None else None
        self.from_text = None if text is None else nn.Linear(text.items.shape[1], dim, bias=False)
        self.attributes = (
            MeanOfBag(features.attributes, dim) if features.attributes.cardinality else None
        )
        for table in self.fields:
            nn.init.normal_(table.get_parameter("weight"), std=0.1)
        self.width = sum(widths) + (TEXT_DIM if text is None else text.items.shape[1])
        if self.text is not None:
            nn.init.normal_(self.text.table.weight, std=0.1)
        if text is not None and self.from_text is not None:
            self.register_buffer("text_factors", torch.from_numpy(text.items))
            # Not read here: with these, serving finds the factors of texts that come later.
            self.register_buffer("text_words", torch.from_numpy(text.words))
            self.register_buffer("text_rarity", torch.from_numpy(text.rarity))
            # The strongest factors come first: from the first step on, like texts lie near.
            nn.init.eye_(self.from_text.weight)
        if self.attributes is not None:
            nn.init.normal_(self.attributes.table.weight, std=1 / math.sqrt(dim))
            self.width += dim

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """rows int64 [n] → everything [n, width], and what of it counts as it is [n, dim], if any:
        attributes, and factors of the text."""
        parts = [table(self.categorical[rows, i]) for i, table in enumerate(self.fields)]
        direct: Tensor | None = None
        if self.text is not None:
            parts.append(self.text(rows))
        if self.from_text is not None:
            parts.append(F.embedding(rows, self.text_factors))
            direct = self.from_text(parts[-1])
        if self.attributes is not None:
            parts.append(self.attributes(rows))
            direct = parts[-1] if direct is None else direct + parts[-1]
        return torch.cat(parts, dim=1), direct


class ItemTower(nn.Module):
    """Content, the item's id, and popularity as of a moment if it is asked for → unit vector [dim].

    The id table begins as a factorisation of who bought what (`towers.factors`), so that likeness
    is there from the first step on. It is learnt from there, or stays as it is and a linear map
    learns how to read it. A learnt id counts by how much there is to learn it from, n / (n + k) for
    n events and a learnt k; factors are short where there is little. So an item without events
    stands by its content alone, and `id_dropout` trains for that.
    """

    events: Tensor
    id_table: Tensor
    usual_popularity: Tensor

    def __init__(
        self,
        features: ItemFeatures,
        events: NDArray[np.int64],
        dim: int,
        factors: NDArray[np.float32],
        *,
        learn_ids: bool,
        id_dropout: float,
        popularity: bool = False,
        widths: Sequence[int] | None = None,
        text: TextFactors | None = None,
    ) -> None:
        """events int64 [items]: of each item in training. factors float32 [items, id_dim], of
        width `dim` if they are to be learnt on.

        widths, text: as of `Content`.
        """
        super().__init__()
        self.id_dropout = id_dropout
        self.vocabularies = features.vocabularies
        self.content = Content(features, dim, widths, text)
        self.register_buffer("events", torch.from_numpy(events.astype(np.float32)))
        self.from_id: nn.Module = nn.Identity()
        if learn_ids:
            # Directions alone: how long an id is, is learnt. Noise sets apart those without any.
            start = F.normalize(torch.from_numpy(factors), dim=1)
            noise = torch.randn(len(features), dim) / math.sqrt(dim)
            self.id_table = nn.Parameter(start + ID_NOISE * noise)
            self.log_k = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("id_table", torch.from_numpy(factors))
            self.from_id = nn.Linear(factors.shape[1], dim, bias=False)
            if factors.shape[1] == dim:
                nn.init.eye_(self.from_id.weight)
        extra = POPULARITY_FEATURES if popularity else 0
        self.mix = nn.Sequential(
            nn.Linear(self.content.width + extra + self.id_table.shape[1], HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, dim),
        )
        if learn_ids:
            nn.init.normal_(self.mix[-1].get_parameter("weight"), std=MIX_START)
            nn.init.zeros_(self.mix[-1].get_parameter("bias"))
        self.from_popularity = nn.Linear(extra, dim) if popularity else None
        self.register_buffer("usual_popularity", torch.zeros(extra))

    def __len__(self) -> int:
        return len(self.events)

    def forward(self, rows: Tensor, popularity: Tensor | None = None) -> Tensor:
        """rows int64 [n]: items; popularity [n, POPULARITY_FEATURES] → unit vectors [n, dim]."""
        return self._vectors(rows, self._ids(rows), popularity)

    def expect(self, popularity: NDArray[np.float32]) -> None:
        """Expect of an item that is new to be as popular as those in demand are on the average.

        popularity float32 [items, POPULARITY_FEATURES], as of now. That of an item which nobody has
        met, though it was there, says that nobody wants it; of a new one it says nothing.
        """
        wanted = popularity[popularity[:, FOUR_WEEKS] > 0]
        if len(wanted):
            self.usual_popularity.copy_(torch.from_numpy(wanted.mean(0)))

    def as_new(self, rows: Tensor) -> Tensor:
        """Unit vectors [n, dim] of items with this content that are new to the catalog."""
        ids = self.id_table.new_zeros(len(rows), self.id_table.shape[1])
        return self._vectors(rows, ids, self.usual_popularity.expand(len(rows), -1))

    def _vectors(self, rows: Tensor, ids: Tensor, popularity: Tensor | None) -> Tensor:
        content, direct = self.content(rows)
        parts, vectors = [content, ids], self.from_id(ids)
        if direct is not None:
            vectors = vectors + direct
        if self.from_popularity is not None and popularity is not None:
            popularity = (popularity - 1.0) / 2.0
            parts.insert(1, popularity)
            vectors = vectors + self.from_popularity(popularity)
        return F.normalize(vectors + self.mix(torch.cat(parts, dim=1)), dim=1)

    def _ids(self, rows: Tensor) -> Tensor:
        """What is known of each row by its id alone, [n, id_dim]; in training, some are hidden."""
        ids = F.embedding(rows, self.id_table)
        if isinstance(self.id_table, nn.Parameter):
            events = self.events[rows, None]
            ids = ids * (events / (events + self.log_k.exp()))
        if self.training:
            ids = ids * (torch.rand(len(rows), 1, device=ids.device) >= self.id_dropout)
        return ids

    @torch.no_grad()
    def embed_catalog(self, popularity: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Vectors float32 [items, dim] of the whole catalog, given popularity as of now."""
        was_training = self.training
        self.eval()
        rows = torch.arange(len(self), device=self.events.device)
        features = None if popularity is None else torch.from_numpy(popularity).to(rows.device)
        vectors = torch.cat(
            [
                self(chunk, None if features is None else features[chunk])
                for chunk in torch.split(rows, EMBED_CHUNK)
            ]
        )
        self.train(was_training)
        return vectors.cpu().numpy()
