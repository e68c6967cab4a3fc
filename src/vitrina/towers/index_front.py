"""What recall costs, as a picture: latency by recall of each kind of index, one SVG file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from vitrina.index.tuning import Measured, front
from vitrina.towers.curves import BOTTOM, LEFT, RIGHT, STYLE, TOP, WIDTH, ticks

HEIGHT: Final = 420
LEGEND: Final = 130
COLOURS: Final = (
    "#2563a8",
    "#c2410c",
    "#15803d",
    "#7c3aed",
    "#0e7490",
    "#be185d",
    "#a16207",
    "#475569",
)


def index_front(measured: Sequence[Measured], chosen: Measured, target: float, k: int) -> str:
    """The SVG: a point for each measured setting, the front as a line, the choice named."""
    x_ticks = ticks(min(one.recall for one in measured), 1.0)
    low, high = (
        math.log10(min(one.p50_ms for one in measured)),
        math.log10(max(one.p50_ms for one in measured)),
    )
    spread = max(high - low, 0.1)

    def x(recall: float) -> float:
        share = (recall - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return LEFT + (WIDTH - LEFT - RIGHT - LEGEND) * share

    def y(ms: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high + 0.1 * spread - math.log10(ms)) / (
            1.2 * spread
        )

    right = x(x_ticks[-1])
    title = f"One search for {k} of a user vector, p50 in ms, by recall@{k}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}.front{{stroke-dasharray:4 3}}</style>",
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for ms in _round_numbers(low - 0.1 * spread, high + 0.1 * spread):
        parts.append(
            f'<path class="grid" d="M{LEFT} {y(ms):.1f}H{right:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:.4g}</text>'
        )
    for recall in x_ticks:
        parts.append(
            f'<text x="{x(recall):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{recall:.4g}</text>"
        )
    parts.append(
        f'<path class="grid" d="M{x(target):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text x="{x(target):.1f}" y="{TOP - 2}" text-anchor="middle">promised</text>'
    )
    line = "L".join(f"{x(one.recall):.1f} {y(one.p50_ms):.1f}" for one in front(measured))
    parts.append(f'<path class="line front" d="M{line}"/>')
    for place, kind in enumerate(dict.fromkeys(one.kind for one in measured)):
        colour = COLOURS[place % len(COLOURS)]
        row = TOP + 18 * place
        parts.append(
            f'<circle cx="{right + 20:.1f}" cy="{row + 8}" r="4" fill="{colour}"/>'
            f'<text x="{right + 30:.1f}" y="{row + 12}">{escape(kind)}</text>'
        )
        parts += [
            f'<circle cx="{x(one.recall):.1f}" cy="{y(one.p50_ms):.1f}" r="4" fill="{colour}"/>'
            for one in measured
            if one.kind == kind
        ]
    parts.append(
        f'<text class="kept" x="{x(chosen.recall) - 8:.1f}" y="{y(chosen.p50_ms) + 16:.1f}" '
        f'text-anchor="end">chosen: {escape(chosen.kind)}, {chosen.p50_ms:.3g} ms</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten whose logarithms lie between the two."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    numbers = [by * 10.0**power for power in powers for by in (1, 2, 5)]
    return [number for number in numbers if low <= math.log10(number) <= high]
