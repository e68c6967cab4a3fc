"""The demo page in a browser: click a product, and the shelves change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser


def texts(page: Chrome, selector: str) -> list[str]:
    return [element.text for element in page.find_elements("css selector", selector)]


def console(page: Chrome) -> list[object]:
    """What the browser complained of."""
    return list(page.get_log("browser"))  # type: ignore[no-untyped-call]


def shelf(page: Chrome, name: str) -> list[str]:
    selector = f"#{name} .card input[name=item_id]"
    return [
        str(field.get_attribute("value")) for field in page.find_elements("css selector", selector)
    ]


def click(page: Chrome, selector: str) -> None:
    """Click something that leads to another page, and wait for that page."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.wait import WebDriverWait

    here = page.find_element("css selector", "html")

    def has_left(_: Chrome) -> bool:
        # Between two documents chromedriver answers for an element of the old one with an
        # "inspector error" as often as with "stale element"; both say that the page is gone.
        try:
            here.is_enabled()
        except WebDriverException:
            return True
        return False

    page.find_element("css selector", selector).click()
    WebDriverWait(page, 15).until(has_left)


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_a_click_changes_the_shelves(
    shop: str, open_browser: Callable[..., Chrome], script: bool
) -> None:
    page = open_browser(script=script)
    page.get(f"{shop}/?shopper=ada")
    assert set(shelf(page, "buy_again")) == {"item-0003", "item-0019"}
    before = shelf(page, "discover")
    assert len(before) == 12
    assert texts(page, ".card .badge") == []  # nothing is new at a first look

    title = texts(page, "#discover .card .title")[4]
    click(page, "#discover .card:nth-child(5) button")

    after = shelf(page, "discover")
    assert before[4] not in after
    assert title in texts(page, ".notice b")
    assert texts(page, ".visits .title")[0] == title
    new = [item for item in after if item not in before]
    assert new
    assert len(texts(page, "#discover .card .badge")) == len(new)
    assert console(page) == []

    page.refresh()
    assert shelf(page, "discover") == after
    assert texts(page, ".card .badge") == []


def test_an_anonymous_visitor_builds_a_history(
    shop: str, open_browser: Callable[..., Chrome]
) -> None:
    page = open_browser()
    page.get(shop)
    assert texts(page, "h1") == ["Anonymous visitor"]
    assert "No history yet" in page.page_source
    assert texts(page, ".versions b") == ["centroid"]
    for _ in range(2):
        click(page, "#discover .card:nth-child(2) button")
        assert texts(page, ".versions b") == ["learned"]
    assert len(texts(page, ".visits .title")) == 2

    stranger = open_browser()
    stranger.get(shop)
    assert "No history yet" in stranger.page_source


def test_shoppers_are_a_link_or_a_name_away(shop: str, open_browser: Callable[..., Chrome]) -> None:
    page = open_browser()
    page.get(shop)
    click(page, ".shoppers a[href='/?shopper=ada']")
    assert texts(page, "h1") == ["ada"]
    assert "not in this catalog" in page.page_source  # ada's third event

    strange = "<script>alert('x')</script> & \"co\""
    field = page.find_element("css selector", "input[name=shopper]:not([type=hidden])")
    field.send_keys(strange)
    click(page, ".find button")
    assert texts(page, "h1") == [strange]
    click(page, "#discover .card button")
    assert texts(page, "h1") == [strange]
    assert len(texts(page, ".visits .title")) == 1
    assert console(page) == []


def test_the_strip_tells_versions_and_stages(
    shop: str, open_browser: Callable[..., Chrome]
) -> None:
    page = open_browser()
    page.get(f"{shop}/?shopper=ada")
    strip = page.find_element("css selector", ".strip").text
    for said in ("items_v", "user_v", "history", "user vector", "candidates", "rank", "hydrate"):
        assert said in strip


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_sticks_out_at_any_width(
    shop: str, open_browser: Callable[..., Chrome], width: int
) -> None:
    page = open_browser()
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    page.get(f"{shop}/?shopper=ada")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
