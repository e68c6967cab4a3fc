"""Bots: planted ones are found, people are not, and what is found is not learnt from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.lake_shop import ITEMS_CSV, NOW, rows, shop_settings, write
from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.ingest import ingest
from vitrina.lake.quality.activity import activity
from vitrina.lake.quality.bots import RULES, find_bots
from vitrina.lake.sequences import load_interactions
from vitrina.lake.shoppers import START
from vitrina.lake.split import to_us

DAY = datetime(2024, 5, 1, tzinfo=UTC)


def every(seconds: float, count: int, start: datetime = DAY) -> list[datetime]:
    return [start + timedelta(seconds=seconds) * n for n in range(count)]


def uneven(seconds: float, count: int, start: datetime = DAY) -> list[datetime]:
    """Moments of a person: pauses from next to nothing to three times the mean."""
    pauses = [0.1, 0.4, 1.9, 0.3, 2.8, 0.2, 1.0, 1.3]
    mean = sum(pauses) / len(pauses)
    moments = [start]
    for n in range(count - 1):
        moments.append(moments[-1] + timedelta(seconds=seconds * pauses[n % 8] / mean))
    return moments


def found(moments: Iterable[datetime]) -> dict[str, dict[str, Any]]:
    """The rules that a shopper with events at these moments breaks, by reason."""
    moments = list(moments)
    events = {
        "user_id": ["ann"] * len(moments),
        "session_id": ["s"] * len(moments),
        START: pa.nulls(len(moments), pa.timestamp("us")),
        "event_type": ["view"] * len(moments),
        "timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
    }
    with DuckDBEngine() as engine:
        frame = engine.from_columns(events)
        bots = engine.collect(find_bots(engine, frame, activity(engine, frame))).to_pylist()
    assert {bot["key"] for bot in bots} <= {"ann"}
    return {bot["reason"]: bot for bot in bots}


def test_haste_is_flagged_with_its_figure() -> None:
    bot = found(uneven(1.5, 800))["rate"]
    assert 350 < bot["figure"] < 450  # one every 1.5 s
    assert bot["limit"] == 300
    assert bot["since"] == DAY + timedelta(days=1)


def test_a_crawler_is_known_by_its_rhythm() -> None:
    assert set(found(every(5, 400))) == {"rhythm"}
    rounded = [moment.replace(microsecond=0) for moment in every(3.3, 400)]
    assert set(found(rounded)) == {"rhythm"}


def test_a_day_without_sleep_is_flagged() -> None:
    assert set(found(uneven(170, 500))) == {"clock"}


def test_a_day_that_holds_too_much_is_flagged() -> None:
    assert set(found(uneven(8, 5_000))) == {"volume"}


def test_a_mass_of_events_at_one_moment_is_flagged() -> None:
    assert set(found([DAY] * 20_001)) == {"batch"}


def test_the_flag_dates_from_the_first_such_day() -> None:
    quiet = uneven(60, 20)
    later = every(2, 400, DAY + timedelta(days=3)) + every(1, 600, DAY + timedelta(days=9))
    assert {bot["since"] for bot in found(quiet + later).values()} == {
        DAY + timedelta(days=4),
        DAY + timedelta(days=10),
    }


PEOPLE = [
    uneven(20, 1_500),  # eight hours of browsing, three actions a minute
    uneven(4, 280),  # a quick hunter
    [DAY] * 900,  # a basket for a canteen
    [moment for moment in uneven(600, 40) for _ in range(50)],  # a day of such baskets
    every(86_400, 1_000),  # the same coffee at the same hour for three years
    every(1_800, 48 * 60),  # a subscription that reorders itself
    [moment.replace(second=0) for moment in uneven(45, 600)],  # a clock without seconds
]


@pytest.mark.parametrize("moments", PEOPLE)
def test_people_are_not_flagged(moments: list[datetime]) -> None:
    assert found(moments) == {}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(0, 50 * 86_400_000), max_size=199).map(
        lambda offsets: [DAY + timedelta(milliseconds=offset) for offset in offsets]
    )
)
def test_nobody_is_flagged_for_less_than_two_hundred_events(moments: list[datetime]) -> None:
    assert found(moments) == {}


def test_nobody_of_complete_journey_is_a_bot(tmp_path: Path) -> None:
    demo = write_complete_journey(tmp_path, as_of=datetime(2017, 12, 1))
    with DuckDBEngine() as engine:
        no_start = nw.lit(None, nw.Datetime("us")).alias(START)
        events = engine.scan_parquet([demo.events]).with_columns(no_start)
        assert engine.collect(find_bots(engine, events, activity(engine, events))).num_rows == 0


def test_the_rules_are_documented_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/data-quality.md").read_text("utf-8")
    for name, rule in RULES.items():
        assert f"| {name} | {rule.sentence} |" in page


@pytest.fixture
def crawled(tmp_path: Path) -> Path:
    """A lake with two people, a crawler from May 3 on and an anonymous one on May 1."""
    lines = ["user_id,session_id,item_id,event_type,timestamp"]
    lines += ["ann,,soup,view,2024-05-01T10:00:00Z", "ben,,bread,view,2024-05-02T10:00:00Z"]
    lines += ["robby,,milk,view,2024-05-02T09:00:00Z"]
    for key, start in (("robby,", DAY + timedelta(days=2)), (",eve", DAY)):
        lines += [f"{key},milk,view,{moment.isoformat()}" for moment in every(2, 400, start)]
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    events = write(tmp_path / "events.csv", "\n".join(lines) + "\n")
    ingest(shop_settings(tmp_path, [items], [events]), now=NOW)
    return tmp_path


def shoppers(folder: Path, before: datetime | None) -> list[str]:
    return load_interactions(
        folder / "lake",
        before_us=None if before is None else to_us(before),
        item_ids=["bread", "milk", "soup"],
        event_types=["view"],
    ).user_ids


def test_bots_are_left_out_of_what_is_learnt_but_not_of_the_events(crawled: Path) -> None:
    assert {bot["key"] for bot in rows(crawled, "bots")} == {"robby", "session:eve"}
    assert len(rows(crawled, "events")) == 803
    assert shoppers(crawled, None) == ["ann", "ben"]


def test_a_bot_is_left_out_only_once_it_is_known(crawled: Path) -> None:
    assert shoppers(crawled, datetime(2024, 5, 3, 9)) == ["ann", "ben", "robby"]
    assert shoppers(crawled, datetime(2024, 5, 4)) == ["ann", "ben"]
    assert pq.read_schema(next((crawled / "lake").glob("tables-*/bots.parquet"))).field(
        "since"
    ).type == pa.timestamp("us", "UTC")
