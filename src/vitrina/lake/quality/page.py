"""The pages about the lake: each one HTML file that needs no network, no script and no font."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vitrina import __version__
from vitrina.lake.quality.charts import (
    HEIGHT,
    MONTHS,
    WIDTH,
    compact,
    events_over_time,
    price,
    price_histogram,
    rank_curve,
)
from vitrina.lake.quality.prices import PRICE_EDGES
from vitrina.lake.quality.remarks import remarks
from vitrina.lake.quality.shift import MOVED, SHIFTED

TEMPLATES: Final = Path(__file__).parent / "templates"


def report_page(figures: Mapping[str, Any]) -> str:
    """The report of one set of tables. figures: its quality.json, of this version's FORMAT."""
    types = [entry["type"] for entry in figures["types"]]
    time = events_over_time(figures["days"], types)
    return (
        _environment()
        .get_template("report.html")
        .render(
            figures=figures,
            remarks=remarks(figures),
            examples=_examples(figures["examples"]),
            units={rule["reason"]: rule["unit"] for rule in figures["bots"]["rules"]},
            time=time,
            colour_of={name: number for number, (name, _) in enumerate(time.layers)},
            items=rank_curve(figures["items"]["curve"]),
            shoppers=rank_curve(figures["shoppers"]["curve"]),
            prices=(
                price_histogram(figures["prices"]["histogram"], PRICE_EDGES)
                if figures["prices"]["items"]
                else None
            ),
            version=__version__,
            now=datetime.now(UTC),
        )
    )


def drift_page(drift: Mapping[str, Any]) -> str:
    """What has changed between two sets of tables. drift: as `drift` returns it."""
    return (
        _environment()
        .get_template("drift.html")
        .render(
            drift=drift, moved=MOVED, shifted=SHIFTED, version=__version__, now=datetime.now(UTC)
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        css=(TEMPLATES / "report.css").read_text("utf-8"), width=WIDTH, height=HEIGHT
    )
    environment.filters.update(
        n=_number,
        share=_share,
        compact=compact,
        price=price,
        day=_day,
        growth=_growth,
        figure=_figure,
    )
    return environment


def _growth(rows: Mapping[str, int]) -> str:
    """From A to B in percent, with its sign."""
    if not rows["a"]:
        return "–" if not rows["b"] else "new"
    return f"{rows['b'] / rows['a'] - 1:+.1%}" if rows["a"] != rows["b"] else "0%"


def _number(value: float) -> str:
    """Whole numbers as they are, others with one digit."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _share(value: float) -> str:
    """A share in percent; what is little is not called nothing, nor nearly all everything."""
    if value == 0 or value == 1:
        return f"{value:.0%}"
    if value < 0.001:
        return "< 0.1%"
    if 0.999 < value < 1:
        return "> 99.9%"
    return f"{value:.1%}"


def _figure(value: float) -> str:
    """A bot's figure: a count as it is, seconds with two digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:.2f}"


def _examples(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, bool, str], list[Any]]:
    """Example rows by table, whether the row was kept, and reason as the ingest counts it."""
    found: dict[tuple[str, bool, str], list[Any]] = defaultdict(list)
    for row in rows:
        column = f"{row['column']}: " if row["column"] else ""
        found[row["table"], row["row_kept"], column + row["reason"]].append(row)
    return found


def _day(moment: str) -> str:
    """An ISO moment as `5 May 2024`."""
    found = datetime.fromisoformat(moment)
    return f"{found.day} {MONTHS[found.month - 1]} {found.year}"
