"""A real browser before a real server; skipped, visibly, where there is no browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app
from vitrina.schema import Event
from vitrina.studio.app import mount_studio

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

DAY_US = 86_400_000_000
JANUARY_2026_US = 1_767_225_600_000_000


@pytest.fixture
def shop(tmp_path: Path, bundle_path: Path) -> Iterator[str]:
    """Address of a shop with its studio, and a shopper called ada who likes bakery goods."""
    settings = shop_settings(tmp_path)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    app = create_app(settings)
    mount_studio(app)
    app.state.service.record(
        [
            Event(f"e{n}", item, kind, JANUARY_2026_US - n * DAY_US, user_id="ada")
            for n, (item, kind) in enumerate(
                [("item-0003", "purchase"), ("item-0019", "purchase"), ("gone", "view")]
            )
        ]
    )
    with serving(app) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def open_browser() -> Iterator[Callable[..., Chrome]]:
    """Opens headless Chromium windows, with or without script, in light or dark."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium or chromedriver here: apt-get install chromium chromium-driver")
    windows: list[Chrome] = []

    def open_window(script: bool = True) -> Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not script:
            off = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", off)
        service = webdriver.ChromeService(executable_path=driver)
        windows.append(webdriver.Chrome(options=options, service=service))
        return windows[-1]

    yield open_window
    for window in windows:
        window.quit()
