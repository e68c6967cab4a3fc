"""Prices of the catalog: their spread, and those that stand out."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.schema import CATEGORY_SEPARATOR

PRICE_EDGES: Final = tuple(
    round(step * 10.0**power, 4) for power in range(-2, 6) for step in (1, 1.5, 2, 3, 5, 7)
)
"""Where the bins of the price histogram begin, after one that begins at 0."""
QUARTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
PRICES_OF_A_DEPARTMENT: Final = 30
"""Priced items from which a department is judged by its own prices, not by the catalog's."""
PRICE_FACTOR: Final = 10.0
OUTLIERS_SHOWN: Final = 50

PRICE_RULE: Final = (
    f"A price stands out when it is more than {PRICE_FACTOR:.0f} times above the upper quartile, "
    f"or below the lower quartile, of its department (of the catalog, where the department has "
    f"under {PRICES_OF_A_DEPARTMENT} prices); where prices spread wide, more than the cube of the "
    "ratio of the quartiles."
)


def price_figures(engine: Engine, items: Frame) -> dict[str, Any]:
    """Quantiles, histogram and outliers of the prices, as JSON holds them.

    Quartiles are those of each currency. The rule is Tukey's for values that are far out, on the
    logarithm of the price: three times the distance of the quartiles, here at least a factor 10.
    """
    priced = items.filter(~nw.col("price").is_null()).select(
        "item_id",
        "title",
        "price",
        currency=nw.col("currency").fill_null(""),
        department=department(),
    )
    price = nw.col("price")
    totals = engine.collect(
        priced.select(
            items=nw.len(),
            free=(price == 0).cast(nw.Int64).sum().cast(nw.Int64),
            lowest=price.min(),
            highest=price.max(),
            **{f"p{share * 100:.0f}": price.quantile(share, "linear") for share in QUARTILES},
        )
    ).to_pylist()[0]
    bin_ = sum(((price >= edge).cast(nw.Int64) for edge in PRICE_EDGES), start=nw.lit(0))
    bins = engine.collect(
        priced.with_columns(bin=bin_).group_by("bin").agg(items=nw.len()).sort("bin")
    ).to_pylist()
    outliers = engine.persist(_outliers(priced))
    shown = outliers.sort("times", "item_id", descending=[True, False]).head(OUTLIERS_SHOWN)
    currencies = engine.collect(
        priced.group_by("currency").agg(items=nw.len()).sort("items", "currency", descending=True)
    )
    return {
        "rule": PRICE_RULE,
        **totals,
        "currencies": currencies.to_pylist()[:10],
        "histogram": [
            {
                "from": 0.0 if row["bin"] == 0 else PRICE_EDGES[row["bin"] - 1],
                "to": PRICE_EDGES[row["bin"]] if row["bin"] < len(PRICE_EDGES) else None,
                "items": row["items"],
            }
            for row in bins
        ],
        "outliers": engine.collect(outliers.select(nw.len()))[0][0].as_py(),
        "shown": engine.collect(shown).to_pylist(),
    }


def _outliers(priced: Frame) -> Frame:
    """item_id, title, price, currency, department, typical (the median), times (how far beyond)."""
    above = priced.filter(nw.col("price") > 0)

    def quartiles(prefix: str, *keys: str) -> Frame:
        price = nw.col("price")
        return above.group_by(*keys).agg(
            nw.len().alias(f"{prefix}items"),
            *(
                price.quantile(share, "linear").alias(f"{prefix}{name}")
                for share, name in ((0.25, "low"), (0.5, "middle"), (0.75, "high"))
            ),
        )

    judged = above.join(quartiles("d_", "currency", "department"), on=["currency", "department"])
    judged = judged.join(quartiles("c_", "currency"), on="currency")
    own = nw.col("d_items") >= PRICES_OF_A_DEPARTMENT
    judged = judged.with_columns(
        **{
            name: nw.when(own).then(nw.col(f"d_{name}")).otherwise(nw.col(f"c_{name}"))
            for name in ("low", "middle", "high")
        }
    )
    ratio = nw.col("high") / nw.col("low")
    wide = ratio * ratio * ratio
    judged = judged.with_columns(
        factor=nw.when(wide > PRICE_FACTOR).then(wide).otherwise(nw.lit(PRICE_FACTOR)),
        above=nw.col("price") / nw.col("high"),
        below=nw.col("low") / nw.col("price"),
    )
    times = nw.when(nw.col("above") > nw.col("below")).then(nw.col("above"))
    judged = judged.with_columns(times=times.otherwise(nw.col("below")))
    return judged.filter(nw.col("times") > nw.col("factor")).select(
        "item_id", "title", "price", "currency", "department", "times", typical="middle"
    )


def department() -> nw.Expr:
    """The broadest level of the category; empty where there is none."""
    first = nw.col("category_path").str.replace_all(f"{CATEGORY_SEPARATOR}.*$", "")
    return first.fill_null("")
