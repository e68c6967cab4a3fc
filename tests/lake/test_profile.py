"""The report's figures: what they count, and that a page can be made of any data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, ingest_texts
from vitrina.lake.quality.distribution import describe
from vitrina.lake.quality.remarks import remarks
from vitrina.lake.tables import current_tables

HEADER = "user_id,session_id,item_id,event_type,timestamp\n"
EVENTS = (
    HEADER
    + """ann,s1,soup,view,2024-05-01T10:00:00Z
ann,s1,soup,purchase,2024-05-01T10:05:00Z
ann,s2,bread,view,2024-05-03T10:00:00Z
ben,s3,soup,view,2024-05-01T11:00:00Z
,v1,soup,view,2024-05-01T12:00:00Z
,v1,soup,view,2024-05-01T12:00:00Z
ann,s2,cake,view,2024-05-03T10:00:00Z
ann,s2,pie,view,2024-05-03T10:00:00Z
ann,s2,soup,stare,2024-05-03T10:00:00Z
"""
)


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (current_tables(folder / "lake") / "quality.json").read_text("utf-8")
    )
    return found


def test_events_are_counted_by_day_type_shopper_item_and_session(tmp_path: Path) -> None:
    ingest_texts(tmp_path, events=EVENTS)
    found = figures(tmp_path)
    assert found["days"] == [
        {"day": "2024-05-01", "shoppers": 3, "events": {"purchase": 1, "view": 3}},
        {"day": "2024-05-03", "shoppers": 1, "events": {"view": 1}},
    ]
    assert found["types"] == [
        {"type": "view", "events": 4, "shoppers": 3, "weight": 1.0},
        {"type": "purchase", "events": 1, "shoppers": 1, "weight": 5.0},
    ]
    shoppers, items, sessions = found["shoppers"], found["items"], found["sessions"]
    assert (shoppers["members"], shoppers["anonymous"], shoppers["returning"]) == (3, 1, 1)
    assert (items["catalog"], items["members"], items["unknown"], items["max"]) == (3, 2, 2, 4)
    assert (sessions["members"], sessions["single"]) == (4, 3)
    lengths = {entry["length"]: entry["sessions"] for entry in sessions["lengths"]}
    assert (lengths["a moment"], lengths["1–5 min"]) == (3, 1)


def test_rows_set_apart_have_their_places(tmp_path: Path) -> None:
    ingest_texts(tmp_path, events=EVENTS)
    found = figures(tmp_path)
    places = {(row["column"], row["row"]) for row in found["examples"]}
    assert places == {("item_id", 7), ("item_id", 8), ("event_type", 9)}
    events = found["tables"]["events"]
    assert (events["read"], events["kept"], events["duplicates"]) == (9, 5, 1)
    assert events["missing"]["user_id"] == {"rows": 1, "share": 0.2}
    text = " ".join(remark.text for remark in remarks(found))
    assert "33.3% of the rows of events could not be used" in text
    assert "22.2% of the events name an item that the catalog lacks" in text


def test_a_price_far_beyond_its_department_stands_out(tmp_path: Path) -> None:
    lines = [f"s{n},Spoon,Kitchen > Spoons,{n % 5 + 1}," for n in range(40)]
    lines += [f"c{n},Car,Cars,{20_000 + 1_000 * n}," for n in range(40)]
    lines += ["typo,Spoon,Kitchen > Spoons,299,", "cents,Car,Cars,250,", "gift,Bag,Kitchen,0,"]
    ingest_texts(tmp_path, items=ITEMS_CSV + "\n".join(lines) + "\n")
    prices = figures(tmp_path)["prices"]
    assert [row["item_id"] for row in prices["shown"]] == ["cents", "typo"]
    assert prices["shown"][1]["typical"] == 3
    assert (prices["items"], prices["free"], prices["outliers"]) == (86, 1, 2)
    assert sum(row["items"] for row in prices["histogram"]) == 86


def test_the_tree_of_categories_adds_up(tmp_path: Path) -> None:
    lines = [f"i{n},Item,D{n % 30} > C{n % 60} > T{n},1," for n in range(600)]
    ingest_texts(tmp_path, items=ITEMS_CSV + "\n".join(lines) + "\nplain,Item,,1,\n")
    found = figures(tmp_path)["categories"]
    assert found["without"] == 1
    assert found["levels"] == [
        {"level": 2, "paths": 3, "items": 3},
        {"level": 3, "paths": 600, "items": 600},
    ]
    assert sum(node["items"] for node in found["tree"]) == 603
    assert found["tree"][-1]["name"] is None
    for node in found["tree"]:
        below = sum(child["items"] for child in node["children"])
        assert not node["children"] or below == node["items"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_the_long_tail_is_that_of_the_counts(counts: list[int]) -> None:
    values, members = np.unique(counts, return_counts=True)
    found = describe(values[::-1].astype(np.int64), members[::-1].astype(np.int64))
    ranked = sorted(counts, reverse=True)
    n, total = len(counts), sum(counts)
    assert (found.members, found.events, found.max) == (n, total, ranked[0])
    assert found.median == sorted(counts)[max(0, int(np.ceil(n / 2)) - 1)]
    assert all(ranked[rank - 1] == events for rank, events in found.curve)
    assert (found.curve[0][0], found.curve[-1][0]) == (1, n)
    head = max(1, round(0.1 * n))
    assert found.heads[1]["events"] == pytest.approx(sum(ranked[:head]) / total)
    apart = np.abs(np.subtract.outer(counts, counts)).sum()
    assert found.gini == pytest.approx(apart / (2 * n * total), abs=1e-9)


STRANGE = {
    "one event": (ITEMS_CSV, HEADER + "ann,s,soup,view,2024-05-01\n"),
    "two centuries": (
        ITEMS_CSV,
        HEADER + "ann,s,soup,view,1815-06-18\nben,t,soup,view,2024-05-01\n",
    ),
    "ids only": ("item_id\nsoup\nbread\n", EVENTS_CSV),
    "nothing but free": ("item_id,price\nsoup,0\nbread,0\n", EVENTS_CSV),
    "many types": (
        ITEMS_CSV,
        HEADER
        + "".join(
            f"ann,s,soup,{kind},2024-05-01\n"
            for kind in (
                "view",
                "click",
                "add_to_favorites",
                "add_to_cart",
                "contact_seller",
                "purchase",
                "dismiss",
            )
        ),
    ),
    "names that are markup": (
        "item_id,title,category_path\n<b>soup,<i>&amp;,</ul> > \"'\n",
        HEADER + "<script>,s,<b>soup,view,2024-05-01\n",
    ),
}


@pytest.mark.parametrize("case", STRANGE)
def test_there_is_a_page_whatever_the_data(tmp_path: Path, case: str) -> None:
    items, events = STRANGE[case]
    ingest_texts(tmp_path, items=items, events=events)
    page = (current_tables(tmp_path / "lake") / "report.html").read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    assert "nan" not in page.lower().replace("<script", "")
    assert "<script" not in page
    assert "<b>soup" not in page
