"""A small shop with a promoted bundle, served on a real port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app


@pytest.fixture
def registry(tmp_path: Path, bundle_path: Path) -> Registry:
    """A registry whose current bundle is the tiny shop."""
    registry = Registry(shop_settings(tmp_path).paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    return registry


@pytest.fixture
def app(tmp_path: Path, registry: Registry) -> FastAPI:
    """The application around that registry; `client` serves it."""
    return create_app(shop_settings(tmp_path))


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serving(app) as client:
        yield client
