"""A shop with files, and one with a promoted bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.cli_shop import Shop, make_shop
from vitrina.bundle.registry import Registry


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Two CSV files and a vitrina.toml."""
    return make_shop(tmp_path / "shop")


@pytest.fixture
def open_shop(shop: Shop, bundle_path: Path) -> Shop:
    """The same with the tiny shop's bundle promoted."""
    registry = Registry(shop.home / "data/bundles")
    registry.promote(registry.publish(bundle_path, {"failed_gates": []}))
    return shop
