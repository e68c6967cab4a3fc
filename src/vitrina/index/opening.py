"""Indexes by their kind: how one is built, what its file is called, how it is read back."""

from __future__ import annotations

from pathlib import Path

from vitrina.index.base import Kind
from vitrina.index.faiss import FaissIndex
from vitrina.index.memory import MemoryIndex
from vitrina.space import Vectors


def build_kind(kind: Kind, vectors: Vectors) -> MemoryIndex:
    """An index of that kind that looks at as little as it can. Raises MissingExtra."""
    if kind == "scann":
        from vitrina.index.scann import ScannIndex

        return ScannIndex.build(vectors)
    return FaissIndex.build(vectors, kind)


def index_file(kind: Kind) -> str:
    """The name of such an index's file in a bundle."""
    return "index.scann" if kind == "scann" else "index.faiss"


def load_kind(kind: Kind, path: Path, vectors: Vectors) -> MemoryIndex:
    """Read one back. Raises MissingExtra, SpaceMismatch and BundleError."""
    if kind == "scann":
        from vitrina.index.scann import ScannIndex

        return ScannIndex.load(path, vectors)
    return FaissIndex.load(path, vectors)
