"""Signs for product tiles: words of a category path, and strokes on a 24 x 24 grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_SIGNS: Final[tuple[tuple[str, str], ...]] = (
    # The first entry whose words occur counts, so the particular stand before the general.
    (
        r"\bpets?\b|\bdogs?\b|cat food|cat litter",
        "M12 12c-3 0-5.5 3-5.5 5.5S8 21 12 21s5.5-1 5.5-3.5S15 12 12 12zM5 9v1.5M9 5v2M15 5"
        "v2M19 9v1.5",
    ),
    (
        r"frozen|frzn|ice cream|sherbet|popsicle",
        "M12 2v20M3.3 7l17.4 10M20.7 7L3.3 17M9 3.5l3 2.5 3-2.5M9 20.5l3-2.5 3 2.5",
    ),
    (
        r"milk|dairy|cream|yogurt|yoghurt|cheese|butter|margarine",
        "M8.5 2h7v3L18 9.5V21a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V9.5L8.5 5zM6 10h12M8.5 5h7",
    ),
    (
        r"\begg",
        "M12 3c4 0 7 6 7 11a7 7 0 0 1-14 0c0-5 3-11 7-11z",
    ),
    (
        r"bread|bun|roll|bagel|baked|bakery|bake|pastr|tortilla|dough",
        "M6.5 20v-8.7A4 4 0 0 1 4 7.7C4 5.3 6 4 8.5 4h7C18 4 20 5.3 20 7.7a4 4 0 0 1-2.5"
        " 3.6V20zM10 8.5v7.5M14 8.5v7.5",
    ),
    (
        r"fruit|apple|banana|berr|citrus|grape|melon|peach|orange|tropical|avocado",
        "M12 8c-2-2-7-1.5-7 4 0 5 3 9 5 9 1 0 1.5-.5 2-.5s1 .5 2 .5c2 0 5-4 5-9 0-5.5-5-6-7"
        "-4zM12 8c0-2.5 1-4 3-5",
    ),
    (
        r"fish|seafood|shrimp|tuna|salmon",
        "M3 12c3-5.5 10-6.5 14-1l4-3v8l-4-3c-4 5.5-11 4.5-14-1zM7.5 11v.01",
    ),
    (
        r"meat|beef|pork|chicken|turkey|lamb|bacon|sausage|hot dog|poultry|deli|lunchmeat|\bham\b",
        "M14 4c4-1 7 3 5 7-1.7 3-5.5 4-8 4l-3 3c.6 1.6-.5 3-2 3-1.3 0-1.7-1-1.7-1.7-.7 0-1.8"
        "-.5-1.8-1.8 0-1.5 1.5-2.5 3-2l3-3c0-3 2-7.5 5.5-8.5z",
    ),
    (
        r"coffee|tea\b|teas|cocoa",
        "M17 8.5h1.2a3.5 3.5 0 0 1 0 7H17M4 8.5h13V17a4 4 0 0 1-4 4H8a4 4 0 0 1-4-4zM7.5 2.5"
        "v2.5M10.5 2.5v2.5M13.5 2.5v2.5",
    ),
    (
        r"drink|juice|water|beer|ale\b|wine|spirit|liquor|beverage|soda|isotonic|oil|vinegar|syrup",
        "M10 2h4v5.5l2.5 3V21a1 1 0 0 1-1 1h-7a1 1 0 0 1-1-1V10.5L10 7.5zM7.5 14.5h9",
    ),
    (
        r"cookie|candy|chocolate|snack|cracker|chip|sweets|\bgum\b|cake|dessert|pie\b|donut",
        "M12 3a9 9 0 1 0 9 9 4 4 0 0 1-5-4 4 4 0 0 1-4-5zM8.5 9.5v.01M8 15v.01M13 13v.01M15 17v.01",
    ),
    (
        r"soup|cereal|pasta|rice|noodle|dinner|meal|breakfast|oat|macaroni|salad bar|restaurant",
        "M3 11.5h18a9 9 0 0 1-5.5 8V21h-7v-1.5A9 9 0 0 1 3 11.5zM8.5 8c0-1.7 1-1.7 1-3.5M12"
        " 8c0-1.7 1-1.7 1-3.5M15.5 8c0-1.7 1-1.7 1-3.5",
    ),
    (
        r"canned|can\b|bean|sauce|condiment|pickle|tomato|spread|jam|jell|peanut|dressing|spice",
        "M6 5.5V19c0 1.5 3 2.5 6 2.5s6-1 6-2.5V5.5M6 5.5C6 4 9 3 12 3s6 1 6 2.5S15 8 12 8 6"
        " 7 6 5.5zM6 11c0 1.5 3 2.5 6 2.5s6-1 6-2.5",
    ),
    (
        r"produce|vegetable|lettuce|salad|onion|potato|pepper|carrot|herb|organic|mushroom|squash",
        "M5 19C5 10 11 5 20 4.5 20.5 14 15 20 7 20c-1.3 0-2-.3-2-1zM4 21.5c2-5.5 5-8.5 10-11",
    ),
    (
        r"flor|flower|plant|garden|rose|bouquet",
        "M12 9.3a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4zM12 9.3c-3-2.6-2.3-6 0-7.3 2.3 1.3"
        " 3 4.7 0 7.3zM14.7 12c2.6-3 6-2.3 7.3 0-1.3 2.3-4.7 3-7.3 0zM12 14.7c3 2.6 2.3 6 0"
        " 7.3-2.3-1.3-3-4.7 0-7.3zM9.3 12c-2.6 3-6 2.3-7.3 0 1.3-2.3 4.7-3 7.3 0z",
    ),
    (
        r"drug|medic|health|vitamin|nutrition|remed|pain|cold and|allergy|first aid|pharm",
        "M10.5 20.5l10-10a4.95 4.95 0 0 0-7-7l-10 10a4.95 4.95 0 0 0 7 7zM8.5 8.5l7 7",
    ),
    (
        r"soap|shampoo|hair|deodor|oral|tooth|skin|lotion|bath|detergent|bleach|laundry|clean|dish",
        "M12 2.8l5.6 5.6a8 8 0 1 1-11.2 0zM9 15.5a3.2 3.2 0 0 0 3 2.5",
    ),
    (
        r"cosmetic|makeup|make up|fragrance|beauty|nail|candle|gift|toy|seasonal|card",
        "M12 3l2.2 6.8L21 12l-6.8 2.2L12 21l-2.2-6.8L3 12l6.8-2.2z",
    ),
    (
        r"household|paper|towel|tissue|bag|foil|kitchen|home|hardware|light bulb|batter|wrap",
        "M3 10l9-7 9 7v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM9.5 22v-8h5v8",
    ),
    (
        r"magazine|book|newspaper|greeting|station|school",
        "M2.5 4H8a4 4 0 0 1 4 4v13a3 3 0 0 0-3-3H2.5zM21.5 4H16a4 4 0 0 0-4 4v13a3 3 0 0 1 3"
        "-3h6.5z",
    ),
    (
        r"cloth|shirt|apparel|hosiery|sock|shoe|wear|dress|fashion",
        "M8 3L2 7l2 4 3-1v11h10V10l3 1 2-4-6-4a4 4 0 0 1-8 0z",
    ),
    (
        r"phone|electronic|computer|camera|film|audio|video|media",
        "M7 2h10a2 2 0 0 1 2 2v16a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2zM11 18.5h2",
    ),
    (
        r"baby|infant|diaper",
        "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 14.5a5 5 0 0 0 8 0M9 9.5v.01M15 9.5v.01",
    ),
)
_SIGN_OF_WORDS: Final = tuple((re.compile(words, re.IGNORECASE), d) for words, d in _SIGNS)


def sign(category_path: Sequence[str]) -> str:
    """The sign, an SVG path, for the narrowest level that has one; empty if none has."""
    for level in reversed(category_path):
        for words, strokes in _SIGN_OF_WORDS:
            if words.search(level):
                return strokes
    return ""
