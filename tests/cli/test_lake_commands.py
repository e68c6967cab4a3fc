"""`vitrina lake report` and `vitrina lake drift`, on a shop with two CSV files."""

from __future__ import annotations

from cli.cli_shop import EVENTS, REGULARS, Shop, make_shop
from vitrina.lake.tables import current_tables


def test_the_report_lies_beside_the_tables_and_is_made_again(shop: Shop) -> None:
    shop.run("ingest")
    page = current_tables(shop.home / "data/lake") / "report.html"
    made = page.read_text("utf-8")
    assert "24 events of 13 shoppers" in made
    page.unlink()
    result = shop.run("lake report")
    assert result.code == 0
    assert str(page) in result.err
    assert "4.0% of the rows of events could not be used" in result.out
    assert page.read_text("utf-8")[:2000] == made[:2000]


def test_figures_of_an_older_version_are_computed_again(shop: Shop) -> None:
    shop.run("ingest")
    file = current_tables(shop.home / "data/lake") / "quality.json"
    before = file.read_text("utf-8")
    file.write_text('{"format": 0}')
    assert shop.run("lake report", "--json").json["shoppers"]["members"] == 13
    assert file.read_text("utf-8") == before


def test_a_report_of_no_tables_says_what_to_do(shop: Shop) -> None:
    result = shop.run("lake report")
    assert result.code == 1
    assert "Run 'vitrina ingest' first." in result.err


def test_drift_compares_the_last_tables_with_those_before(shop: Shop) -> None:
    shop.run("ingest")
    lake = shop.home / "data/lake"
    earlier = current_tables(lake)
    log = (EVENTS + REGULARS).replace("milk,view", "milk,purchase")
    make_shop(shop.home, events=log).run("ingest")
    result = shop.run("lake drift", str(earlier), str(lake), "--html", str(shop.home / "d.html"))
    assert result.code == 0
    assert "event_type" in result.out
    assert "shifted" in result.out
    assert "distributions have shifted" in (shop.home / "d.html").read_text("utf-8")
    found = shop.run("lake drift", str(earlier), str(lake), "--json").json
    assert found["keys"]["items"] == {"lost": 0, "new": 0, "kept": 3}


def test_drift_of_what_is_no_lake_is_exit_code_1(shop: Shop) -> None:
    result = shop.run("lake drift", str(shop.home), str(shop.home))
    assert result.code == 1
    assert "holds no tables yet" in result.err
