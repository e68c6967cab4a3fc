"""Drift: what has changed from one set of tables to another is said, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.lake_shop import ingest_texts
from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.quality.drift import drift
from vitrina.lake.quality.page import drift_page
from vitrina.lake.quality.shift import stability_index, verdict_of
from vitrina.lake.tables import set_at

COUNTS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=9)


def items(price: float = 1, brands: int = 4, start: int = 0) -> str:
    """A hundred items in two departments; every so-manieth has a brand."""
    lines = [
        f"i{n:03},Item {n:03},{'Food' if n % 2 else 'Toys'} > Any,{(n % 20 + 1) * price},"
        f"{'Acme' if n % brands else ''}"
        for n in range(start, start + 100)
    ]
    return "item_id,title,category_path,price,brand\n" + "\n".join(lines) + "\n"


def events(purchases: int = 10, start: int = 0) -> str:
    """Twenty shoppers, thirty events each; every so-manieth is a purchase."""
    lines = [
        f"u{u:02},i{(u * 7 + n) % 60 + 20:03},{'view' if n % purchases else 'purchase'},"
        f"2024-05-{n % 28 + 1:02}T{(u + n) % 24:02}:00:00Z,1.5"
        for u in range(start, start + 20)
        for n in range(30)
    ]
    return "user_id,item_id,event_type,timestamp,value\n" + "\n".join(lines) + "\n"


def compare(folder: Path, a: tuple[str, str], b: tuple[str, str]) -> dict[str, Any]:
    for name, (catalog, log) in (("a", a), ("b", b)):
        ingest_texts(folder / name, items=catalog, events=log)
    with DuckDBEngine() as engine:
        return drift(engine, *(set_at(folder / name / "lake") for name in ("a", "b")))


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {
        column["column"]: column["verdict"]
        for column in found["columns"]
        if column["verdict"] != "stable"
    }


def test_the_same_data_has_not_drifted(tmp_path: Path) -> None:
    found = compare(tmp_path, (items(), events()), (items(), events()))
    assert {column["psi"] for column in found["columns"]} == {0}
    assert "position" not in {column["column"] for column in found["columns"]}, "nothing has one"
    assert found["tables"]["events"] == {"a": 600, "b": 600}
    assert found["keys"]["items"] == {"lost": 0, "new": 0, "kept": 100}
    assert found["prices"]["changed"] == 0
    assert set(found["changed"].values()) == {100, 0}


def test_what_has_changed_is_named_and_nothing_else(tmp_path: Path) -> None:
    before = items(), events()
    after = items(price=3, brands=2, start=5), events(purchases=2, start=8)
    found = compare(tmp_path, before, after)
    assert verdicts(found) == {"price": "shifted", "event_type": "shifted", "brand": "shifted"}
    assert found["keys"] == {
        "items": {"lost": 5, "new": 5, "kept": 95},
        "shoppers": {"lost": 8, "new": 8, "kept": 12},
    }
    assert found["changed"]["price"] == found["prices"]["changed"] == found["prices"]["up"] == 95
    assert found["prices"]["p50"] == pytest.approx(3)
    assert found["changed"]["title"] == 0
    (brand,) = [column for column in found["columns"] if column["column"] == "brand"]
    assert (brand["missing_a"], brand["missing_b"]) == (0.25, 0.5)
    assert {bin_["bin"]: bin_["b"] for bin_ in brand["bins"]} == {"Acme": 0.5, "(missing)": 0.5}

    page = drift_page(found)
    assert "3 of" in page
    assert "distributions have shifted" in page


def test_a_new_category_is_seen_though_a_never_had_it(tmp_path: Path) -> None:
    found = compare(tmp_path, (items(), events()), (items().replace("Toys", "Tools"), events()))
    assert verdicts(found) == {"department": "shifted"}
    assert found["changed"]["category_path"] == 50


def test_a_column_that_is_filled_for_the_first_time_has_shifted(tmp_path: Path) -> None:
    empty = events().replace(",1.5\n", ",\n")
    found = compare(tmp_path, (items(), empty), (items(), events()))
    assert verdicts(found) == {"value": "shifted"}
    (value,) = [column for column in found["columns"] if column["column"] == "value"]
    assert (value["missing_a"], value["missing_b"]) == (1, 0)


def test_a_folder_that_is_no_lake_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        set_at(tmp_path)


@given(COUNTS)
def test_the_index_is_a_symmetric_distance(counts: list[tuple[int, int]]) -> None:
    a, b = [pair[0] for pair in counts], [pair[1] for pair in counts]
    assert stability_index(a, a) == 0
    assert stability_index(a, b) == pytest.approx(stability_index(b, a))
    assert stability_index(a, b) >= 0


def test_the_index_and_its_verdicts() -> None:
    # 0.1 · ln(0.6 / 0.5) - 0.1 · ln(0.4 / 0.5)
    assert stability_index([50, 50], [600, 400]) == pytest.approx(0.040547, abs=1e-6)
    found = [verdict_of(psi) for psi in (0.05, 0.1, 0.25, 0.3)]
    assert found == ["stable", "moved", "moved", "shifted"]
