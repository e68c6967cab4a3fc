"""A bundle with another index: the same items under the same space, another release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitrina.bundle.bundle import INDEX_TUNING, load_bundle
from vitrina.bundle.registry import Registry
from vitrina.bundle.reindexed import reindexed
from vitrina.errors import BundleError
from vitrina.index.base import IndexInfo, Kind
from vitrina.index.opening import build_kind
from vitrina.space import Vectors

NOTES = {INDEX_TUNING: b"{}"}


@pytest.mark.parametrize("kind", ["ivf", "scann"])
def test_only_the_index_is_another_one(bundle_path: Path, tmp_path: Path, kind: Kind) -> None:
    old = load_bundle(bundle_path)
    index = build_kind(kind, old.vectors)
    info = IndexInfo(kind, 1.0, 0.99, index.most_lists, 1, index.effort.rescored)
    version = reindexed(bundle_path, tmp_path / "new", index, info, NOTES)
    new = load_bundle(tmp_path / "new")
    assert version == new.manifest.version == f"{old.manifest.version}.1"
    assert (new.space, new.manifest.index, new.item_ids) == (old.space, info, old.item_ids)
    query = Vectors(old.space, old.vectors.values[:3])
    assert new.index.search(query, 1)[1][:, 0].tolist() == [0, 1, 2]
    again = reindexed(tmp_path / "new", tmp_path / "newer", old.index, old.manifest.index, {})
    assert again == f"{old.manifest.version}.2"
    assert not (tmp_path / "newer" / "index.scann").exists()
    assert np.array_equal(load_bundle(tmp_path / "newer").vectors.values, old.vectors.values)


def test_both_releases_stand_beside_each_other(bundle_path: Path, tmp_path: Path) -> None:
    registry, old = Registry(tmp_path / "bundles"), load_bundle(bundle_path)
    first = registry.publish(bundle_path, metrics={})
    info = IndexInfo("exact", 1.0, 0.99)
    reindexed(bundle_path, tmp_path / "new", old.index, info, NOTES)
    second = registry.publish(tmp_path / "new", metrics={})
    registry.promote(second)
    assert [summary.version for summary in registry.list()] == [first, second]
    assert (registry.path(second) / INDEX_TUNING).read_bytes() == b"{}"


def test_an_index_below_its_promise_is_not_promoted(bundle_path: Path, tmp_path: Path) -> None:
    registry, old = Registry(tmp_path / "bundles"), load_bundle(bundle_path)
    below = IndexInfo("exact", 0.92, 0.95, k=100)
    reindexed(bundle_path, tmp_path / "new", old.index, below, NOTES)
    version = registry.publish(tmp_path / "new", metrics={})
    with pytest.raises(
        BundleError, match=r"0\.9200 of exact search's 100 best, its target is 0\.95"
    ):
        registry.promote(version)
