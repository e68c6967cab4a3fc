"""What each row of a loss counts."""

from __future__ import annotations

import torch
from torch import Tensor


def subsampling_weights(counts: Tensor, threshold: float) -> Tensor:
    """The chance with which sub-sampling keeps an event, for events of each item.

        min(1, √(threshold / f_i)),   f_i = counts_i / Σ_j counts_j

    As weights of rows instead of a draw, the expected loss is the same and no event is lost.
    Source: Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", NeurIPS 2013, section 2.3, which discards with one less this chance.

    counts [M]: events of each item in training. threshold: the share of all events above which an
    item's events count less. Returns [M], from 0 to 1; 1 for an item without events.
    """
    share = counts / counts.sum().clamp(min=1)
    return torch.sqrt(threshold / share).clamp(max=1.0)


def row_weights(
    targets: Tensor, event_types: Tensor, *, item_weights: Tensor, type_weights: Tensor
) -> Tensor:
    """What each row counts: its target's weight times that of the event's type.

    An event of a stronger kind is more confidence in the same preference, not more preference.
    Source: Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets",
    ICDM 2008, section 4, where confidence weighs each term of the loss.

    targets int64 [N]: rows of items. event_types int64 [N]: codes of the targets' events.
    item_weights [M], such as `subsampling_weights`; type_weights [T]. Returns [N].
    """
    return item_weights[targets] * type_weights[event_types]
