"""The user tower: a recent history → a unit vector in the items' space.

Two encoders of one signature: the causal transformer that is the default, and the small MLP over
a summary of the history, which costs a tenth and is the one to beat.
Inputs, as `encoding.EncodedBatch` has them, padded on the right:
item_vectors float32 [B, L, dim]; event_types int64 [B, L]; days float32 [B, L], the age of each
event before the newest; mask bool [B, L]. Output: unit vectors float32 [B, dim]. `states` gives
the vector that the shopper had after each of the events, [B, L, dim]: training on whole sequences
asks for all of them at once, and none of them depends on what came later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vitrina.encoding import MAX_AGE_DAYS
from vitrina.towers import ranks

GAP_BUCKETS = 32
MEAN_DECAYS_PER_DAY = (0.0, 0.03, 0.2)
"""Recency averages the head reads: of the whole history, of about a month, of about a week."""

RUNNING_SHARE = 0.05
"""What a batch contributes to a running mean."""

HEAD_START = 0.003
"""Spread of what the head adds to a sequential tower at the beginning: next to nothing."""

LAST_SHARE = 0.5
"""What the newest event counts then, next to the mean of all, which counts 1."""

SHRINKAGE = 0.2
"""Weight of the mean shopper in a served vector. Chosen on the reported cut and two before it."""


class Attention(nn.Module):
    """Causal self-attention whose heads forget with time.

    A head's score falls by slope · log2(1 + days between the two events), the slope being
    learnt: ALiBi (Press et al., ICLR 2022) with time in the place of position.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.slope = nn.Parameter(torch.linspace(0.0, 0.7, heads))

    def forward(self, queries: Tensor, x: Tensor, visible: Tensor, log_days: Tensor) -> Tensor:
        """queries [B, Q, dim], of x [B, L, dim]; visible bool, log_days [B, Q, L] → [B, Q, dim]."""
        dim = x.shape[-1]
        weight, bias = self.qkv.weight.view(3, dim, dim), self.qkv.bias.view(3, dim)
        query, key, value = (
            F.linear(source, weight[part], bias[part])
            .view(*source.shape[:-1], self.heads, -1)
            .transpose(1, 2)
            for part, source in enumerate((queries, x, x))
        )  # [B, heads, Q or L, dim / heads]
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        scores = scores - F.softplus(self.slope)[:, None, None] * log_days[:, None]
        weights = scores.masked_fill(~visible[:, None], -1e9).softmax(dim=-1)
        attended: Tensor = self.out((weights @ value).transpose(1, 2).flatten(-2))
        return attended


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, visible: Tensor, log_days: Tensor, at: Tensor | None = None
    ) -> Tensor:
        """All events of x [B, L, dim], or those at one place each, at [B, 1]: [B, L or 1, dim]."""
        normed = self.attention_norm(x)
        queries = normed if at is None else _picked(normed, at)
        x = x if at is None else _picked(x, at)
        x = x + self.dropout(self.attention(queries, normed, visible, log_days))
        x = x + self.dropout(self.mlp(x))
        return x


class Centring(nn.Module):
    """Takes the running mean off its input [..., width].

    Averages of many unit vectors are much alike; centred, what sets shoppers apart shows. The mean
    is that of all processes that train together.
    """

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(ranks.mean(x.flatten(0, -2).to(self.mean.dtype)), RUNNING_SHARE)
        return x - self.mean


class UserTower(nn.Module):
    """A causal transformer over the events, and a head over its last state and recency averages.

    The averages carry what a shopper likes in general, the transformer what the order and the
    pauses add to it. Where one thing leads to another (`sequential`), it begins as next to nothing
    but the history's mean and its newest event: items of a kind lie together from the start, so
    that is a good list from the first step on, and what is learnt is what to change about it.
    """

    def __init__(
        self,
        dim: int,
        event_types: int,
        *,
        blocks: int = 1,
        heads: int = 2,
        dropout: float = 0.1,
        sequential: bool = False,
    ) -> None:
        super().__init__()
        self.from_item = nn.Linear(dim, dim)
        self.event_type = nn.Embedding(event_types, dim)
        self.gap = nn.Embedding(GAP_BUCKETS, dim)
        for table in (self.event_type, self.gap):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(blocks))
        width = dim * len(MEAN_DECAYS_PER_DAY)
        self.last_norm = nn.LayerNorm(dim)
        self.means_norm = nn.Sequential(Centring(width), nn.LayerNorm(width))
        self.head = nn.Sequential(
            nn.Linear(dim + width, 2 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )
        self.last_share: nn.Parameter | None = None
        if sequential:
            nn.init.eye_(self.from_item.weight)
            nn.init.normal_(self.head[-1].get_parameter("weight"), std=HEAD_START)
            for layer in (self.from_item, self.head[-1]):
                nn.init.zeros_(layer.get_parameter("bias"))
            self.last_share = nn.Parameter(torch.tensor(LAST_SHARE))
        self.general = nn.Parameter(torch.randn(dim) * (HEAD_START if sequential else 0.05))
        self.mean_share = nn.Parameter(torch.ones(()))

    def forward(
        self, item_vectors: Tensor, event_types: Tensor, days: Tensor, mask: Tensor
    ) -> Tensor:
        x = self._events(item_vectors, event_types, days)
        if len(self.blocks) > 1:
            visible, log_days = _attendable(days, mask)
            for block in self.blocks[:-1]:
                x = block(x, visible, log_days)
        # Of the last block the newest event alone is asked for, and it sees all there is.
        x = self.blocks[-1](x, mask[:, None], torch.log2(1.0 + days)[:, None], _last(mask)[:, None])
        means = [recency_mean(item_vectors, days, mask, decay) for decay in MEAN_DECAYS_PER_DAY]
        return self._unit(x[:, 0], means)

    def states(
        self, item_vectors: Tensor, event_types: Tensor, days: Tensor, mask: Tensor
    ) -> Tensor:
        """What `forward` would return after each event: unit vectors [B, L, dim].

        Where there is no event, the numbers mean nothing.
        """
        x = self._events(item_vectors, event_types, days)
        visible, log_days = _attendable(days, mask)
        for block in self.blocks:
            x = block(x, visible, log_days)
        return self._unit(x, causal_recency_means(item_vectors, days, mask, MEAN_DECAYS_PER_DAY))

    def _events(self, item_vectors: Tensor, event_types: Tensor, days: Tensor) -> Tensor:
        """What the blocks read, [B, L, dim]."""
        # Unit vectors have numbers of size 1/√dim; the scale brings them to that of a norm layer.
        x = self.from_item(item_vectors) * math.sqrt(item_vectors.shape[-1])
        events: Tensor = x + self.event_type(event_types) + self.gap(gap_buckets(days))
        return events

    def _unit(self, last: Tensor, means: Sequence[Tensor]) -> Tensor:
        """last [..., dim]: newest event as attended to; means, each [..., dim]: of the history."""
        averages = self.means_norm(torch.cat(list(means), dim=-1))
        head: Tensor = self.head(torch.cat([self.last_norm(last), averages], dim=-1))
        taste = self.general + self.mean_share * means[0]
        if self.last_share is not None:
            scale = math.sqrt(last.shape[-1])  # what `_events` gave it
            taste = taste + self.last_share * last / scale
        return F.normalize(head + taste, dim=-1)


class SummaryEncoder(nn.Module):
    """An MLP over `encoding.history_summary`: [mean, mean of the last 5, last] → [dim]."""

    def __init__(self, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            Centring(3 * dim),
            nn.LayerNorm(3 * dim),
            nn.Linear(3 * dim, 2 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )

    def forward(
        self, item_vectors: Tensor, event_types: Tensor, days: Tensor, mask: Tensor
    ) -> Tensor:
        last = _last(mask)[:, None]
        place = torch.arange(mask.shape[1], device=mask.device)[None]
        summary = torch.cat(
            [
                _masked_mean(item_vectors, mask),
                _masked_mean(item_vectors, mask & (place > last - 5)),
                _masked_mean(item_vectors, place == last),
            ],
            dim=-1,
        )
        return F.normalize(self.mlp(summary), dim=-1)

    def states(
        self, item_vectors: Tensor, event_types: Tensor, days: Tensor, mask: Tensor
    ) -> Tensor:
        """What `forward` would return after each event, as of `UserTower.states`."""
        place = torch.arange(mask.shape[1], device=mask.device)
        behind = place[:, None] - place[None]
        means = [
            (window / window.sum(-1, keepdim=True)) @ item_vectors
            for window in (((behind >= 0) & (behind < n)).float() for n in (len(place), 5, 1))
        ]
        return F.normalize(self.mlp(torch.cat(means, dim=-1)), dim=-1)


class TowardsCentre(nn.Module):
    """A trained encoder whose vectors are drawn towards the mean shopper: what is served.

    normalise(encoder(…) + SHRINKAGE · centre). Training fits each shopper on events that the item
    factors have seen, and comes out too sure of what sets them apart; the pull undoes that. On
    the demo data it is worth a tenth of NDCG@10 on new items (`docs/explanation/model.md`).
    """

    centre: Tensor

    def __init__(self, encoder: nn.Module, centre: Tensor) -> None:
        """centre [dim]: unit mean of the encoder's vectors of all shoppers."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("centre", centre)

    def forward(
        self, item_vectors: Tensor, event_types: Tensor, days: Tensor, mask: Tensor
    ) -> Tensor:
        vectors = self.encoder(item_vectors, event_types, days, mask)
        return F.normalize(vectors + SHRINKAGE * self.centre, dim=-1)


def gap_buckets(days: Tensor) -> Tensor:
    """Pause before each event, in half-octaves of hours: int64 [B, L] below GAP_BUCKETS."""
    hours = torch.cat([torch.zeros_like(days[:, :1]), days[:, :-1] - days[:, 1:]], dim=1) * 24.0
    return (torch.log2(1.0 + hours.clamp(min=0.0)) * 2.0).long().clamp(max=GAP_BUCKETS - 1)


def recency_mean(vectors: Tensor, days: Tensor, mask: Tensor, decay_per_day: float) -> Tensor:
    """Mean of vectors [B, L, dim] with weights exp(−decay · age in days) → [B, dim]."""
    weights = torch.exp(-decay_per_day * days) * mask
    return (weights[:, None] @ vectors)[:, 0] / weights.sum(1, keepdim=True).clamp(min=1e-6)


def causal_recency_means(
    vectors: Tensor, days: Tensor, mask: Tensor, decays_per_day: Sequence[float]
) -> list[Tensor]:
    """`recency_mean` of the events up to each one, for each decay: [B, L, dim] each."""
    place = torch.arange(days.shape[1], device=days.device)
    earlier = (place[:, None] >= place[None]) & mask[:, None]
    since = _since(days)
    means = []
    for decay in decays_per_day:
        weights = torch.exp(-decay * since) * earlier
        means.append(weights @ vectors / weights.sum(-1, keepdim=True).clamp(min=1e-6))
    return means


def _attendable(days: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which events see which (bool [B, L, L]: real ones not later, and themselves), and the
    time between them, log2(1 + days) [B, L, L]."""
    place = torch.arange(days.shape[1], device=days.device)
    earlier = place[:, None] >= place[None]
    itself = place[:, None] == place[None]
    visible = (earlier & mask[:, None]) | itself
    return visible, torch.log2(1.0 + _since(days))


def _since(days: Tensor) -> Tensor:
    """How long before event t event s was, in days: [B, L (t), L (s)], at most MAX_AGE_DAYS."""
    return (days[:, None] - days[:, :, None]).clamp(min=0.0, max=MAX_AGE_DAYS)


def _picked(x: Tensor, at: Tensor) -> Tensor:
    """The events of x [B, L, dim] at the places at [B, 1]: [B, 1, dim]."""
    return torch.gather(x, 1, at[:, :, None].expand(-1, -1, x.shape[-1]))


def _last(mask: Tensor) -> Tensor:
    """Place of the newest real event, int64 [B]."""
    return mask.sum(1).clamp(min=1) - 1


def _masked_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(vectors.dtype)
    return (weights[:, None] @ vectors)[:, 0] / weights.sum(1, keepdim=True).clamp(min=1.0)
