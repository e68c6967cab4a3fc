"""Texts as vectors before anything is learnt: latent semantic analysis of the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from vitrina.lake.catalog import CatalogTable
from vitrina.towers.factors import signed
from vitrina.towers.features import TEXT_BUCKETS, bucket_of, words_of

MAX_WORDS: Final = 500
"""Of a text, the first: beyond them descriptions repeat themselves."""
TEXT_FACTORS: Final = 128


def text_factors(catalog: CatalogTable) -> NDArray[np.float32] | None:
    """Latent semantic analysis (Deerwester et al., JASIS 1990) of titles, brands, descriptions.

    Items of like words have like vectors, whether anybody has met them or not: float32
    [n, TEXT_FACTORS], of length 1 on the average, zero for an item without a word that another
    has. None where there are too few words or items for that many factors.
    """
    texts = zip(catalog.title, catalog.brand, catalog.description, strict=True)
    # What the title says, it says twice: it is the better part of a text.
    words = tf_idf([f"{title} {brand or ''} {title} {text}" for title, brand, text in texts])
    if min(len(catalog), len(np.unique(words.indices))) <= TEXT_FACTORS:
        return None
    start = np.ones(min(words.shape), np.float32)  # makes the decomposition repeatable
    left, strength, _ = svds(words, k=TEXT_FACTORS, v0=start)
    factors = (signed(left) * strength)[:, ::-1]
    length = np.sqrt((factors**2).sum(1).mean())
    return np.ascontiguousarray(factors / length, np.float32)


def tf_idf(texts: Sequence[str]) -> sp.csr_matrix:
    """Hashed words of texts, (1 + ln count) · ln((1 + n) / (1 + texts with it)), rows normalised.

    float32 [n, TEXT_BUCKETS]. Words of one text alone are left out: they are like no others.
    """
    counts = [Counter(map(bucket_of, words_of(text)[:MAX_WORDS])) for text in texts]
    offsets = np.cumsum([0, *map(len, counts)])
    codes = np.fromiter((code for row in counts for code in row), np.int64, offsets[-1])
    count = np.fromiter((n for row in counts for n in row.values()), np.float32, offsets[-1])
    spread = np.bincount(codes, minlength=TEXT_BUCKETS)
    rarity = np.where(spread > 1, np.log((1 + len(texts)) / (1 + spread)), 0.0)
    weights = ((1 + np.log(count)) * rarity[codes]).astype(np.float32)
    words = sp.csr_matrix((weights, codes, offsets), (len(texts), TEXT_BUCKETS))
    words.eliminate_zeros()
    length = np.sqrt(words.multiply(words).sum(axis=1)).A1
    return sp.csr_matrix(sp.diags_array(1 / np.maximum(length, 1e-9).astype(np.float32)) @ words)
