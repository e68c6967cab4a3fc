"""The lake's pages in a browser: readable at any width, in light and dark, without a network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from lake.lake_shop import ingest_texts
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.quality.drift import drift
from vitrina.lake.quality.page import drift_page
from vitrina.lake.tables import current_tables

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

WIDTHS = [360, 800, 1440]
SCRIPT = "<script>document.title='taken over'</script>"
ITEMS = "item_id,title,category_path,price,brand\n" + "".join(
    f"item-{n},{SCRIPT} {n},Grocery > Soups and broths > Kind {n % 9},{n % 40 + 1},Acme\n"
    for n in range(120)
)
GOLD = f"gold,{SCRIPT} of gold,Grocery,99000,Acme\n"


def log() -> str:
    """A month of thirty shoppers, one robot, and rows that cannot be used."""
    lines = [
        f"shopper-{n},item-{(n * 7 + day) % 120},{'view' if day % 3 else 'purchase'},"
        f"2024-04-{day + 1:02}T{n % 24:02}:15:00Z,"
        for n in range(30)
        for day in range(0, 30, n % 4 + 1)
    ]
    start = datetime(2024, 4, 9, tzinfo=UTC)
    moments = [start + timedelta(seconds=3 * n) for n in range(400)]
    lines += [f"{SCRIPT},item-1,view,{moment.isoformat()}," for moment in moments]
    lines += ["ben,cake,view,2024-04-02T10:00:00Z,", "ben,item-1,stare,2024-04-02T10:00:00Z,"]
    return "user_id,item_id,event_type,timestamp,value\n" + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a report and of a drift page, by name."""
    folder = tmp_path_factory.mktemp("pages")
    ingest_texts(folder / "a", items=ITEMS, events=log())
    ingest_texts(folder / "b", items=ITEMS + GOLD, events=log().replace("purchase", "view"))
    sets = [current_tables(folder / name / "lake") for name in ("a", "b")]
    with DuckDBEngine() as engine:
        (folder / "drift.html").write_text(drift_page(drift(engine, *sets)), encoding="utf-8")
    return {
        "report": (sets[1] / "report.html").as_uri(),
        "drift": (folder / "drift.html").as_uri(),
    }


def texts(page: Chrome, selector: str) -> list[str]:
    return [element.text for element in page.find_elements("css selector", selector)]


def test_the_report_shows_every_part_of_the_data(
    pages: dict[str, str], open_browser: Callable[..., Chrome]
) -> None:
    page = open_browser()
    page.get(pages["report"])
    assert texts(page, "h1") == ["886 events of 31 shoppers, 1 Apr 2024 to 30 Apr 2024"]
    assert texts(page, "section > h2") == [
        "At a glance",
        "Where every row went",
        "Events over time",
        "Event types",
        "Long tails",
        "Sessions",
        "Catalog and events",
        "Missing fields",
        "Prices",
        "Categories",
        "Bots",
    ]
    remarks = texts(page, ".remarks li")
    assert any("1 shopper with 45.1% of all events behave" in remark for remark in remarks)
    assert "events.csv 887" in texts(page, "#rows .places")
    assert texts(page, "#bots tbody th code") == [SCRIPT]
    page.find_element("css selector", "#prices > details > summary").send_keys(" ")
    assert texts(page, "#prices details tbody th") == ["gold"]


def test_categories_unfold_without_a_script(
    pages: dict[str, str], open_browser: Callable[..., Chrome]
) -> None:
    page = open_browser(script=False)
    page.get(pages["report"])
    names = "#categories .tree .tree .name"
    assert texts(page, names)[0] == ""
    page.find_element("css selector", "#categories summary").send_keys(" ")  # by keyboard, too
    assert texts(page, names)[0] == "Soups and broths"


@pytest.mark.parametrize("name", ["report", "drift"])
def test_the_pages_need_nothing_and_trust_nothing(
    pages: dict[str, str], open_browser: Callable[..., Chrome], name: str
) -> None:
    page = open_browser()
    page.get(pages[name])
    assert page.title.endswith("Vitrina")
    assert list(page.get_log("browser")) == []  # type: ignore[no-untyped-call]
    asked = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert page.execute_script(asked) == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["report", "drift"])
def test_the_pages_can_be_heard(
    pages: dict[str, str], open_browser: Callable[..., Chrome], name: str
) -> None:
    page = open_browser()
    page.get(pages[name])
    nameless = """return [...document.querySelectorAll('svg')].filter(e => !e.ariaLabel)
        .concat([...document.querySelectorAll('table')].filter(e => !e.caption))
        .concat([...document.querySelectorAll('thead th')].filter(e => !e.textContent.trim()))
        .map(e => e.outerHTML.slice(0, 80))"""
    assert page.execute_script(nameless) == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["report", "drift"])
def test_nothing_sticks_out_at_any_width(
    pages: dict[str, str], open_browser: Callable[..., Chrome], name: str
) -> None:
    page = open_browser()
    for width in WIDTHS:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.get(pages[name])
        page.execute_script(  # type: ignore[no-untyped-call]
            "document.querySelectorAll('details').forEach(part => part.open = true)"
        )
        seen = page.execute_script("return document.documentElement.scrollWidth")  # type: ignore[no-untyped-call]
        assert seen <= width, (name, width)


def test_the_report_is_dark_where_the_reader_wants_it_dark(
    pages: dict[str, str], open_browser: Callable[..., Chrome]
) -> None:
    page = open_browser()
    page.get(pages["report"])
    colours = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.add(page.find_element("css selector", "html").value_of_css_property("color"))
    assert len(colours) == 2
