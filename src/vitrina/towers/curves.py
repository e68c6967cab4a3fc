"""Learning curves as a picture: loss and validation by step, one SVG file, made of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH: Final = 760
PANEL: Final = 190
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 30, 34
TICKS: Final = 4
STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#444}.title{font-weight:600}.grid{stroke:#ddd}"
    ".line{fill:none;stroke:#2563a8;stroke-width:1.8}.kept{fill:#c2410c}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.grid{stroke:#444}.line{stroke:#7db3e8}"
    ".kept{fill:#fb923c}}"
)

Points = Sequence[Sequence[float]]
"""(step, value), by step."""


def learning_curves(losses: Points, curve: Points, metric: str | None) -> str:
    """The SVG. losses: moving average in nats. curve: `metric` at each look, best one marked;
    without any, the picture has the loss alone."""
    last = max((step for step, _ in [*losses, *curve]), default=1)
    panels = [("Training loss by step, moving average (nats)", losses)]
    if curve and metric:
        panels.append((f"Validation by step, {metric} on held-out shoppers", curve))
    height = len(panels) * PANEL
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Learning curves</title><style>{STYLE}</style>",
    ]
    for place, (title, points) in enumerate(panels):
        body = _panel(title, points, last, mark=points is curve)
        parts.append(f'<g transform="translate(0 {place * PANEL})">{body}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(title: str, points: Points, last: float, *, mark: bool) -> str:
    """One chart. mark: name its highest point."""
    values = [value for _, value in points]
    y_ticks = ticks(min(values, default=0.0), max(values, default=1.0))
    low, high = y_ticks[0], y_ticks[-1]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        return TOP + (PANEL - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>']
    for value in y_ticks:
        parts.append(
            f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.6g}</text>'
        )
    for step in (tick for tick in ticks(0, last) if tick <= last):
        parts.append(
            f'<text x="{x(step):.1f}" y="{PANEL - BOTTOM + 18}" text-anchor="middle">'
            f"{step:,.6g}</text>"
        )
    line = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
    if line:
        parts.append(f'<path class="line" d="M{line}"/>')
    if mark:
        step, best = max(points, key=lambda point: point[1])
        end = step > 0.7 * last
        parts.append(
            f'<circle class="kept" cx="{x(step):.1f}" cy="{y(best):.1f}" r="4"/>'
            f'<text class="kept" x="{x(step) + (-8 if end else 8):.1f}" y="{y(best) - 7:.1f}" '
            f'text-anchor="{"end" if end else "start"}">kept: step {step:,}, {best:.4f}</text>'
        )
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, from at or below `low` to at or above `high`."""
    size = max(abs(low), abs(high), 1.0)
    spread = high - low if high - low > 1e-9 * size else size
    step = 10.0 ** math.floor(math.log10(spread / TICKS))
    step = next(step * by for by in (1, 2, 2.5, 5, 10) if spread <= TICKS * step * by)
    first, end = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(end, first + 1) + 1)]
