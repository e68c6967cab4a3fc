"""A picture for products that have none: a small composition, the same for an item every time.

The palette follows the item's category, the shapes its id, the sign in the middle the words of
its category path (initials where no sign fits). Colours live in the style sheet as classes, so
that a strict content security policy holds and the dark scheme has its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vitrina.studio.signs import sign

PALETTES: Final = 10
"""Palettes in the style sheet: `.palette-0` to `.palette-9`."""

COMPOSITIONS: Final = 4
"""Arrangements of shapes in the template: `tile.composition` picks one."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What the template draws. sign: an SVG path, or empty, then `initials` stand there.

    x, y, size, turn: where the shapes lie, in units of a 100 x 100 square and degrees.
    """

    palette: int
    composition: int
    sign: str
    initials: str
    x: int
    y: int
    size: int
    turn: int


def tile(item_id: str, category_path: Sequence[str], title: str) -> Tile:
    """The item's tile: a function of these three and nothing else."""
    shapes = hashlib.blake2b(item_id.encode("utf-8", "replace"), digest_size=8).digest()
    family = " > ".join(category_path) or item_id
    colours = hashlib.blake2b(family.encode("utf-8", "replace"), digest_size=8).digest()
    return Tile(
        palette=colours[0] % PALETTES,
        composition=shapes[0] % COMPOSITIONS,
        sign=sign(category_path),
        initials=_initials(title or (category_path[-1] if category_path else "") or item_id),
        x=10 + shapes[1] % 80,
        y=5 + shapes[2] % 50,
        size=26 + shapes[3] % 22,
        turn=shapes[4] % 60 - 30,
    )


def _initials(text: str) -> str:
    words = re.findall(r"[^\W\d_]+", text) or re.findall(r"\w+", text) or ["?"]
    return "".join(word[0] for word in words[:2]).upper()
