"""Texts as vectors before anything is learnt: latent semantic analysis of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from vitrina.content import TEXT_BUCKETS, ContentColumns, Words
from vitrina.towers.factors import signed

TEXT_FACTORS: Final = 128


@dataclass(frozen=True, slots=True)
class TextFactors:
    """Of n texts, and how those of any other text are found.

    items float32 [n, TEXT_FACTORS]: of length 1 on the average, zero for a text without a word
    that another has: the tf-idf weights of each, times `words` float32 [TEXT_BUCKETS,
    TEXT_FACTORS]. rarity float32 [TEXT_BUCKETS]: see `content.Words`.
    """

    items: NDArray[np.float32]
    words: NDArray[np.float32]
    rarity: NDArray[np.float32]


def text_factors(catalog: ContentColumns) -> TextFactors | None:
    """Latent semantic analysis (Deerwester et al., JASIS 1990) of titles, brands, descriptions.

    Items of like words have like vectors, whether anybody has met them or not. None where there
    are too few words or items for that many factors.
    """
    words = Words.of(catalog)
    rarity = words.rarity()
    weights = tf_idf(words, rarity)
    if min(weights.shape[0], len(np.unique(weights.indices))) <= TEXT_FACTORS:
        return None
    start = np.ones(min(weights.shape), np.float32)  # makes the decomposition repeatable
    left, _, right = svds(weights, k=TEXT_FACTORS, v0=start)
    signs = np.sign((left * signed(left)).sum(0))
    directions = np.ascontiguousarray((signs[:, None] * right)[::-1].T, np.float32)
    factors = weights @ directions
    length = np.sqrt((factors**2).sum(1).mean())
    return TextFactors(factors / length, directions / length, rarity)


def tf_idf(words: Words, rarity: NDArray[np.float32]) -> sp.csr_matrix:
    """The weights of `Words.tf_idf`, float32 [n, TEXT_BUCKETS], without those that are zero."""
    bags = words.bags
    weights = sp.csr_matrix(
        (words.tf_idf(rarity), bags.codes, bags.offsets), (len(bags.offsets) - 1, TEXT_BUCKETS)
    )
    weights.eliminate_zeros()
    return weights
