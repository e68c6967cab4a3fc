"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from shop import tiny_bundle
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.registry import Registry

# A busy machine is no fault of what is tested; and what a change has passed, it passes again.
# To look for more: pytest --hypothesis-profile=search
settings.register_profile("vitrina", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("vitrina")


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny shop. Shared by the whole run: copy it before changing it."""
    return tiny_bundle(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    """The tiny shop, loaded."""
    return load_bundle(bundle_path)


@pytest.fixture
def registry(tmp_path: Path, bundle_path: Path) -> Registry:
    """A registry of this test's own, with the tiny shop published and promoted."""
    registry = Registry(tmp_path / "bundles")
    registry.promote(registry.publish(bundle_path, {"recall_at_10": 0.3}))
    return registry
