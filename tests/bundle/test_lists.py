"""Precomputed lists: what is in them, and that bundles from before there were any serve on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.bundle import LISTS, load_bundle
from vitrina.bundle.lists import Lists, best_sellers
from vitrina.bundle.manifest import read_manifest, write_manifest
from vitrina.errors import BundleError


@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 6))
def test_best_sellers_are_each_categorys_most_popular_available_items(
    seed: int, items: int, categories: int
) -> None:
    rng = np.random.default_rng(seed)
    popularity = rng.integers(0, 5, items).astype(np.float32)
    available = rng.random(items) < 0.7
    category = rng.integers(-1, categories, (items, 2)).astype(np.int32)
    lists = best_sellers(popularity, available, category, categories, most=3)
    for code in range(categories):
        # Codes of different levels are different categories.
        for level in category.T:
            if set(np.flatnonzero(level == code)) != set(
                np.flatnonzero((category == code).any(axis=1))
            ):
                break
        else:
            rows = np.flatnonzero(available & (category == code).any(axis=1))
            best = sorted(rows.tolist(), key=lambda row: (-popularity[row], row))[:3]
            assert lists[code].tolist() == best + [-1] * (3 - len(best))


def test_lists_survive_their_file(tmp_path: Path) -> None:
    lists = Lists(np.array([[1, -1], [0, -1]], np.int32), np.array([[1]], np.int32))
    lists.save(tmp_path / "lists")
    again = Lists.load(tmp_path / "lists", items=2, categories=1)
    np.testing.assert_array_equal(again.covisited, lists.covisited)
    np.testing.assert_array_equal(again.best_sellers, lists.best_sellers)


@pytest.mark.parametrize(
    ("items", "categories", "message"),
    [
        (3, 1, "expected int32 for each of 3"),
        (2, 2, "expected int32 for each of 2"),
        (1, 1, "expected int32 for each of 1"),
    ],
)
def test_lists_of_other_items_are_refused(
    tmp_path: Path, items: int, categories: int, message: str
) -> None:
    lists = Lists(np.array([[1], [0]], np.int32), np.array([[1]], np.int32))
    lists.save(tmp_path / "lists")
    with pytest.raises(BundleError, match=message):
        Lists.load(tmp_path / "lists", items, categories)


def test_lists_that_name_no_row_are_refused(tmp_path: Path) -> None:
    lists = Lists(np.array([[1], [2]], np.int32), np.array([[1]], np.int32))
    lists.save(tmp_path / "lists")
    with pytest.raises(BundleError, match="rows that 2 items do not have"):
        Lists.load(tmp_path / "lists", items=2, categories=1)


def test_a_bundle_from_before_there_were_lists_still_loads(
    bundle_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = tmp_path / "older"
    shutil.copytree(bundle_path, older)
    (older / LISTS).unlink()
    manifest = read_manifest(older)
    files = {name: entry for name, entry in manifest.files.items() if name != LISTS}
    write_manifest(older, replace(manifest, files=files))
    bundle = load_bundle(older)
    assert bundle.lists.covisited.shape == (300, 0)
    assert "has no lists.safetensors" in caplog.text
    assert "vitrina index" in caplog.text
