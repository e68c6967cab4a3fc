"""The page's charts as geometry: paths and ticks, in units that the page stretches to any width.

Shapes lie in a box of WIDTH × HEIGHT whose origin is at the top left; ticks are in percent of the
box, from the left or from the bottom. The page draws the shapes as SVG without keeping their
proportions, and the labels as text above it, so that they stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
MOST_BARS: Final = 380
TICKS: Final = 8
LAST_TICK: Final = 94
"""In percent; a label that begins later would stick out at the right."""
SERIES: Final = 5
"""Event types with a colour of their own; the others share one."""
OTHERS: Final = "other types"
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Tick:
    """at: percent of the axis. minor: left out where there is little room."""

    at: float
    label: str
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """An invisible column over the chart that says its figures. x, width: in the box's units."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """layers: (name, path) from the back to the front."""

    layers: list[tuple[str, str]]
    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    unit: str = ""


def events_over_time(days: Sequence[Mapping[str, Any]], types: Sequence[str]) -> Chart:
    """Events per day, stacked by type, commonest at the bottom; long times by week, month, year.

    days: as in quality.json. types: all types, the commonest first.
    """
    first, last = (date.fromisoformat(days[place]["day"]) for place in (0, -1))
    unit = _unit(first, last)
    starts = list(_starts(first, last, unit))
    named = list(types[:SERIES])
    names = named + [OTHERS] * (len(types) > SERIES)
    sums = {start: dict.fromkeys(names, 0) for start in starts}
    for day in days:
        of_start = sums[_start(date.fromisoformat(day["day"]), unit)]
        for name, events in day["events"].items():
            of_start[name if name in named else OTHERS] += events
    totals = [sum(of_start.values()) for of_start in sums.values()]
    top, y_ticks = _linear(max(totals))
    width = WIDTH / len(starts)
    gap = 0.18 * width if len(starts) <= 60 else 0.0
    paths: dict[str, list[str]] = {name: [] for name in names}
    bars = []
    for place, (start, of_start) in enumerate(sums.items()):
        x, y = place * width, HEIGHT
        for name, events in of_start.items():
            height = HEIGHT * events / top
            if events:
                paths[name].append(_column(x + gap / 2, y, width - gap, height))
            y -= height
        said = "; ".join(f"{name} {events:,}" for name, events in of_start.items() if events)
        bars.append(Bar(round(x, 2), round(width, 2), f"{_said(start, unit)}: {said or 'none'}"))
    return Chart(
        layers=[(name, "".join(path)) for name, path in paths.items()],
        bars=bars,
        x_ticks=_date_ticks(starts, unit),
        y_ticks=y_ticks,
        unit=unit,
    )


def rank_curve(curve: Sequence[Sequence[int]]) -> Chart:
    """Events over rank, both on a logarithmic axis: a straight line is a power law.

    curve: (rank, events), as `Distribution.curve`.
    """
    x_top, y_top = _decades(curve[-1][0]), _decades(curve[0][1])
    points = [
        (WIDTH * math.log10(rank) / x_top, HEIGHT * (1 - math.log10(events) / y_top))
        for rank, events in curve
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.2f}" for x, y in points)
    area = f"{line}V{HEIGHT:.0f}H0z"
    return Chart(
        layers=[("area", area), ("line", line)],
        bars=[
            Bar(round(x - 6, 1), 12, f"rank {rank:,}: {events:,} events")
            for (x, _), (rank, events) in zip(points, curve, strict=True)
        ],
        x_ticks=[
            Tick(100 * power / x_top, compact(10**power), bool(power % 2))
            for power in range(math.floor(x_top + 1e-9) + 1)
        ],
        y_ticks=[
            Tick(100 * power / y_top, compact(10**power))
            for power in range(math.floor(y_top + 1e-9) + 1)
        ],
    )


def price_histogram(bins: Sequence[Mapping[str, Any]], edges: Sequence[float]) -> Chart:
    """Items over price, on a logarithmic axis. edges: where bins begin, after one from 0."""
    found = {bin_["from"]: bin_["items"] for bin_ in bins}
    starts = [0.0, *edges]
    used = [place for place, start in enumerate(starts) if start in found]
    shown = starts[used[0] : used[-1] + 1]
    top, y_ticks = _linear(max(found.values()))
    width = WIDTH / len(shown)
    columns, bars, ticks = [], [], []
    for place, start in enumerate(shown):
        items, x = found.get(start, 0), place * width
        after = starts.index(start) + 1
        upper = f"under {price(starts[after])}" if after < len(starts) else "and more"
        bars.append(Bar(round(x, 2), round(width, 2), f"{price(start)} {upper}: {items:,} items"))
        if items:
            height = HEIGHT * items / top
            columns.append(_column(x + 0.06 * width, HEIGHT, 0.88 * width, height))
        power = math.log10(start) if start else 0.5
        if start and abs(power - round(power)) < 1e-9:
            ticks.append(Tick(100 * x / WIDTH, price(start)))
    return Chart([("items", "".join(columns))], bars, ticks, y_ticks)


def compact(number: float) -> str:
    """A count in three or four characters: 950, 1.2k, 45k, 3.1M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            scaled = number / size
            return (
                f"{scaled:.1f}".removesuffix(".0") + sign if scaled < 10 else f"{scaled:.0f}{sign}"
            )
    return f"{number:.0f}"


def price(amount: float) -> str:
    """An amount as short as it can be: 0.05, 1.50, 20, 1,500."""
    return f"{amount:,.0f}" if amount >= 10 or amount == round(amount) else f"{amount:,.2f}"


def _column(x: float, bottom: float, width: float, height: float) -> str:
    return f"M{x:.2f} {bottom:.2f}h{width:.2f}v-{height:.2f}h-{width:.2f}z"


def _linear(highest: float) -> tuple[float, list[Tick]]:
    """The end of an axis from 0, and round ticks: at most five above 0."""
    step = 10.0 ** math.floor(math.log10(max(highest, 1) / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if highest / (step * factor) <= 4.5)
    step = max(1.0, step)
    top = max(step, highest * 1.04)
    ticks = [place * step for place in range(int(top / step) + 1)]
    return top, [Tick(100 * tick / top, compact(tick)) for tick in ticks]


def _decades(highest: float) -> float:
    return max(1.0, math.log10(highest) * 1.02)


def _unit(first: date, last: date) -> str:
    days = (last - first).days + 1
    for unit, length in (("day", 1), ("week", 7), ("month", 30)):
        if days / length <= MOST_BARS:
            return unit
    return "year"


def _start(day: date, unit: str) -> date:
    match unit:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


def _starts(first: date, last: date, unit: str) -> Iterable[date]:
    start = _start(first, unit)
    while start <= last:
        yield start
        match unit:
            case "month":
                start = (start + timedelta(days=32)).replace(day=1)
            case "year":
                start = start.replace(year=start.year + 1)
            case _:
                start += timedelta(days=7 if unit == "week" else 1)


def _said(start: date, unit: str) -> str:
    match unit:
        case "year":
            return str(start.year)
        case "month":
            return f"{MONTHS[start.month - 1]} {start.year}"
        case _:
            of = "week of " if unit == "week" else ""
            return f"{of}{start.day} {MONTHS[start.month - 1]} {start.year}"


def _date_ticks(starts: Sequence[date], unit: str) -> list[Tick]:
    """Names of years where they begin, else of months, else of days; never too many."""
    width = 100 / len(starts)
    years = {start.year: place for place, start in reversed(list(enumerate(starts)))}
    months = {
        (start.year, start.month): place for place, start in reversed(list(enumerate(starts)))
    }
    if len(years) > 3 or unit == "year":
        labels = [(place, str(year)) for year, place in years.items()]
    elif len(months) > 2:
        labels = [
            (place, f"{MONTHS[month - 1]} {year}" if month == 1 else MONTHS[month - 1])
            for (year, month), place in months.items()
        ]
    else:
        labels = [
            (place, f"{start.day} {MONTHS[start.month - 1]}") for place, start in enumerate(starts)
        ]
    labels = sorted(label for label in labels if label[0] * width < LAST_TICK)
    step = math.ceil(len(labels) / TICKS)
    return [
        Tick(place * width, label, minor=bool(number % 2))
        for number, (place, label) in enumerate(labels[::step])
    ]
