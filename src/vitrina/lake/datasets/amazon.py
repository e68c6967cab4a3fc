"""Amazon Reviews 2018 and 2023 (McAuley Lab): reviews and product metadata, JSON Lines, gzipped.

One file of reviews and one of metadata (`meta_…`) a category. Metadata holds lists, prices as
text with a dollar sign, scraps of HTML (2018), and lacks some of the products that have reviews.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import paths
from vitrina.lake.engine import DuckDBEngine

MAX_LINE_BYTES: Final = 64 * 2**20

META_2018: Final = DataFile("metadata", "meta_{}.json", ("asin", "title", "category"), form="jsonl")
REVIEWS_2018: Final = DataFile(
    "reviews",
    "{}.json",
    ("overall", "reviewerID", "asin", "unixReviewTime"),
    form="jsonl",
)
META_2023: Final = DataFile(
    "metadata", "meta_{}.jsonl", ("parent_asin", "title", "main_category"), form="jsonl"
)
REVIEWS_2023: Final = DataFile(
    "reviews",
    "{}.jsonl",
    ("rating", "asin", "parent_asin", "user_id", "timestamp"),
    form="jsonl",
)


def prepare_2018(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog of the 2018 form."""
    _write_catalog(engine, _CATALOG_2018, files, into)


def prepare_2023(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the catalog of the 2023 form."""
    _write_catalog(engine, _CATALOG_2023, files, into)


def _write_catalog(engine: DuckDBEngine, sql: str, files: FilesByRole, into: Path) -> None:
    catalog = engine.query(sql, [paths(files["metadata"]), paths(files["reviews"])])
    engine.write_parquet(catalog, into / ITEMS)


def _lines(**columns: str) -> str:
    """SQL: the lines' objects as rows. A line that is none is a row of nulls: an item without an
    id, which the ingest sets apart and counts.
    """
    typed = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    return (
        f"read_json(?, format = 'newline_delimited', columns = {{{typed}}}, "
        f"ignore_errors = true, maximum_object_size = {MAX_LINE_BYTES})"
    )


def _unescaped(text: str) -> str:
    """SQL: `text` with the named characters of HTML as themselves."""
    for name, character in (("quot", '"'), ("#39", "''"), ("lt", "<"), ("gt", ">"), ("amp", "&")):
        text = f"replace({text}, '&{name};', '{character}')"
    return text


def _levels(texts: str) -> str:
    """SQL: a list of category names as a path. Names with markup or of sentence length are not
    names: in some files, bullet points of the product follow the categories.
    """
    names = (
        f"list_filter({texts}, lambda name: name NOT LIKE '%<%' AND length(name) BETWEEN 1 AND 60)"
    )
    return f"nullif(replace(array_to_string({names}, '\x1f'), '>', '/'), '')"


def _joined(column: str) -> str:
    """SQL: a JSON list of texts, or a single one, as one text."""
    texts = (
        f"CASE json_type({column}) WHEN 'VARCHAR' THEN {column}->>'$' "
        f"ELSE array_to_string(json_extract_string({column}, '$[*]'), ' ') END"
    )
    return f"nullif(trim({texts}), '')"


_PATH_2018: Final = _levels("json_extract_string(category, '$[*]')")
_PATH_2023: Final = _levels("json_extract_string(categories, '$[*]')")

_CATALOG_2018: Final = f"""
    WITH products AS (
        SELECT asin AS item_id,
               CASE WHEN title NOT LIKE '%getTime%' THEN {_unescaped("title")} END AS title,
               {_unescaped(_joined("description"))} AS description,
               {_unescaped(f"replace(coalesce({_PATH_2018}, main_cat), chr(31), ' > ')")}
                   AS category_path,
               try_cast(replace(regexp_extract(price, '^[$]([0-9,]+[.][0-9]{{2}})$', 1), ',', '')
                   AS DOUBLE) AS price,
               'USD' AS currency,
               {_unescaped("nullif(trim(brand), '')")} AS brand,
               coalesce(
                   imageURLHighRes->>'$[0]', imageURL->>'$[0]', image->>'$[0]'
               ) AS image_url
        FROM {
    _lines(
        asin="VARCHAR",
        title="VARCHAR",
        description="JSON",
        category="JSON",
        main_cat="VARCHAR",
        price="VARCHAR",
        brand="VARCHAR",
        image="JSON",
        imageURL="JSON",
        imageURLHighRes="JSON",
    )
}
    ), reviewed AS (SELECT DISTINCT asin FROM {_lines(asin="VARCHAR")} WHERE asin IS NOT NULL)
    FROM products
    UNION ALL BY NAME
    SELECT asin AS item_id FROM reviewed ANTI JOIN products ON products.item_id = asin
"""

_CATALOG_2023: Final = f"""
    WITH products AS (
        SELECT parent_asin AS item_id,
               nullif(title, '') AS title,
               {_joined("description")} AS description,
               replace(coalesce({_PATH_2023}, main_category), chr(31), ' > ') AS category_path,
               try_cast(price AS DOUBLE) AS price,
               'USD' AS currency,
               store AS brand,
               images->>'$[0].large' AS image_url
        FROM {
    _lines(
        parent_asin="VARCHAR",
        title="VARCHAR",
        description="JSON",
        categories="JSON",
        main_category="VARCHAR",
        price="VARCHAR",
        store="VARCHAR",
        images="JSON",
    )
}
    ), reviewed AS (SELECT DISTINCT parent_asin FROM {
    _lines(parent_asin="VARCHAR")
} WHERE parent_asin IS NOT NULL)
    FROM products
    UNION ALL BY NAME
    SELECT parent_asin AS item_id
    FROM reviewed ANTI JOIN products ON products.item_id = parent_asin
"""

_TERMS: Final = "no licence is stated; collected at UCSD for research, which asks to be cited"
_DECISIONS: Final = (
    "A review is a purchase with the stars as its value.",
    "Products that have reviews and no metadata are in the catalog with their id alone.",
    "category_path is the list of categories, or the main category where that is empty; the "
    "description is the list of its paragraphs, joined.",
    "The texts of reviews, the votes and the 'also bought' lists are not read.",
)

AMAZON_2018: Final = Dataset(
    name="amazon-2018",
    title="Amazon Reviews 2018",
    about="reviews of May 1996 to October 2018 in 29 categories, with product metadata",
    events=233_100_000,
    items=15_170_000,
    users=43_530_000,
    size="34 GB of reviews and 24 GB of metadata; take one category, or its 5-core",
    terms=_TERMS,
    address="https://nijianmo.github.io/amazon/",
    decisions=(
        *_DECISIONS,
        "Reviews have a day and no time: order within a day is not known.",
        "A price that is a range or a scrap of HTML is no price.",
    ),
    files=(META_2018, REVIEWS_2018),
    events_from=(
        {
            "files": ["reviews"],
            "columns": {
                "user_id": "reviewerID",
                "item_id": "asin",
                "timestamp": {"column": "unixReviewTime", "unit": "s"},
                "event_type": {"value": "purchase"},
                "value": "overall",
            },
        },
    ),
    prepare=prepare_2018,
)

AMAZON_2023: Final = Dataset(
    name="amazon-2023",
    title="Amazon Reviews 2023",
    about="reviews of May 1996 to September 2023 in 33 categories, with product metadata",
    events=571_540_000,
    items=48_190_000,
    users=54_510_000,
    size="two files a category; take the categories you want",
    terms=_TERMS,
    address="https://amazon-reviews-2023.github.io/",
    decisions=(
        *_DECISIONS,
        "An item is a parent_asin: the variants of a product are one item.",
    ),
    files=(META_2023, REVIEWS_2023),
    events_from=(
        {
            "files": ["reviews"],
            "columns": {
                "user_id": "user_id",
                "item_id": "parent_asin",
                "timestamp": {"column": "timestamp", "unit": "ms"},
                "event_type": {"value": "purchase"},
                "value": "rating",
            },
        },
    ),
    prepare=prepare_2023,
)
