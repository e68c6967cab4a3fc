"""Data that cannot make a recommender is refused with a sentence, and the lake stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.lake_shop import ITEMS_CSV, NOW, rows, shop_settings, write
from vitrina.errors import UnfitData
from vitrina.lake.ingest import ingest
from vitrina.lake.tables import has_tables

HEADER = "user_id,session_id,item_id,event_type,timestamp\n"


def visits(
    shoppers: int, days: int = 2, items: tuple[str, ...] = ("soup", "milk"), kind: str = "view"
) -> str:
    """One event a day of each shopper, on the first days of May."""
    return "".join(
        f"shopper-{n},,{items[day % len(items)]},{kind},2024-05-{day + 1:02}T10:00:00Z\n"
        for n in range(shoppers)
        for day in range(days)
    )


def robot(seconds: int = 2) -> str:
    """A morning of one item every few seconds."""
    moments = (
        f"2024-05-01T{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}Z" for s in range(0, 7200, seconds)
    )
    return "".join(f"robot,,soup,view,{moment}\n" for moment in moments)


def ingest_fit(folder: Path, events: str) -> None:
    items = [write(folder / "items.csv", ITEMS_CSV)]
    settings = shop_settings(folder, items, [write(folder / "events.csv", HEADER + events)])
    ingest(settings, now=NOW, fit_only=True)


UNFIT = {
    "one item": (visits(20, items=("soup",)), "40 events are of one item"),
    "few shoppers": (visits(9), "Only 9 shoppers did .* at least 10"),
    "one shopper": (visits(1, days=9), "Only one shopper did"),
    "no time": (
        "".join(
            f"shopper-{n},,{item},view,2024-05-01\n" for n in range(20) for item in ("soup", "milk")
        ),
        "40 events happened at one moment .2024-05-01 00:00:00 UTC.",
    ),
    "nobody returns": (
        "".join(
            f"shopper-{n},,{item},view,2024-05-{n % 9 + 1:02}\n"
            for n in range(20)
            for item in ("soup", "milk")
        ),
        "Of 20 shoppers, none did something at two different moments",
    ),
    "few return": (
        visits(9) + "".join(f"guest-{n},,soup,view,2024-05-01\n" for n in range(90)),
        "Of 99 shoppers, 9 did something at two",
    ),
    "weight 0 only": (visits(20, kind="dismiss"), "all have weight 0"),
    "bots only": (robot(), "All 1 shoppers behave like bots"),
    "bots do not count": (robot() + visits(9), "Only 9 shoppers did"),
    "no usable event": (visits(20, kind="stare"), "There are no events to learn from: none of 40"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_make_a_recommender_is_refused(tmp_path: Path, case: str) -> None:
    events, sentence = UNFIT[case]
    with pytest.raises(UnfitData, match=sentence) as raised:
        ingest_fit(tmp_path, events)
    assert str(raised.value).endswith("The lake was left as it was.")
    assert not has_tables(tmp_path / "lake")
    assert not list((tmp_path / "lake").glob("*tables-*"))


def test_ten_shoppers_with_two_moments_are_enough(tmp_path: Path) -> None:
    ingest_fit(tmp_path, visits(10))
    assert len(rows(tmp_path, "events")) == 20


def test_a_refused_export_leaves_the_last_good_tables(tmp_path: Path) -> None:
    ingest_fit(tmp_path, visits(12))
    with pytest.raises(UnfitData):
        ingest_fit(tmp_path, visits(3))
    assert len(rows(tmp_path, "events")) == 24
