"""A generated shop in which every shopper has one taste: what towers should be able to learn."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lake.lake_shop import ingest_texts
from vitrina.lake.catalog import ALWAYS_THERE, CatalogTable
from vitrina.lake.sequences import Interactions
from vitrina.lake.split import to_datetime
from vitrina.schema import CATEGORY_SEPARATOR, DEFAULT_EVENT_WEIGHTS, History
from vitrina.settings import EvaluateSettings, PathSettings, Settings, TrainSettings

START_US = 1_704_067_200_000_000  # 2024-01-01
DAY_US = 86_400_000_000
TYPES = sorted(DEFAULT_EVENT_WEIGHTS)
TYPE_WEIGHTS = np.array([DEFAULT_EVENT_WEIGHTS[name] for name in TYPES], np.float32)
VIEW, PURCHASE = TYPES.index("view"), TYPES.index("purchase")


@dataclass(frozen=True)
class TasteShop:
    """taste_of_item int64 [items]; taste_of_user int64 [users]."""

    interactions: Interactions
    catalog: CatalogTable
    taste_of_item: NDArray[np.int64]
    taste_of_user: NDArray[np.int64]


def taste_shop(
    *,
    users: int = 40,
    items: int = 60,
    tastes: int = 4,
    events: int = 24,
    days: int = 90,
    loyalty: float = 0.9,
    seed: int = 0,
) -> TasteShop:
    """`events` of each shopper over `days`; a share `loyalty` of them is of the shopper's taste.

    One event in three is a purchase, the others are views. Some items are bought again and again.
    """
    rng = np.random.default_rng(seed)
    taste_of_item = np.arange(items) % tastes
    taste_of_user = np.arange(users) % tastes
    user = np.repeat(np.arange(users), events)
    taste = np.where(
        rng.random(len(user)) < loyalty, taste_of_user[user], rng.integers(tastes, size=len(user))
    )
    row = rng.integers(items // tastes, size=len(user)) * tastes + taste
    event_type = np.where(rng.random(len(user)) < 1 / 3, PURCHASE, VIEW)
    moment = START_US + rng.integers(days * DAY_US, size=len(user))
    return TasteShop(
        interactions=as_interactions(user, row, event_type, moment),
        catalog=taste_catalog(taste_of_item, rng),
        taste_of_item=taste_of_item,
        taste_of_user=taste_of_user,
    )


def as_interactions(
    user: NDArray[np.integer],
    row: NDArray[np.integer],
    event_type: NDArray[np.integer],
    timestamp_us: NDArray[np.integer],
    *,
    users: int | None = None,
) -> Interactions:
    """Columns in any order as `Interactions`, sorted as those of the lake are."""
    order = np.lexsort((event_type, row, timestamp_us, user))
    count = int(user.max(initial=-1)) + 1 if users is None else users
    return Interactions(
        user=user[order].astype(np.int32),
        row=row[order].astype(np.int32),
        event_type=event_type[order].astype(np.int16),
        timestamp_us=timestamp_us[order].astype(np.int64),
        session=np.zeros(len(user), np.int32),
        user_ids=[f"user-{number:04d}" for number in range(count)],
    )


def taste_catalog(taste: NDArray[np.int64], rng: np.random.Generator) -> CatalogTable:
    """A catalog whose categories and titles follow the tastes."""
    n = len(taste)
    price = rng.uniform(1, 40, n).astype(np.float32)
    price[::17] = np.nan
    return CatalogTable(
        item_ids=[f"item-{number:04d}" for number in range(n)],
        title=[f"Taste{t} thing {number}" for number, t in enumerate(taste)],
        description=[""] * n,
        category_path=[[f"DEPARTMENT {t % 2}", f"TASTE {t}"] for t in taste],
        price=price,
        currency=[None] * n,
        brand=[f"Brand {number % 5}" if number % 7 else None for number in range(n)],
        location=[None] * n,
        condition=[None] * n,
        image_url=[None] * n,
        available=np.ones(n, np.bool_),
        created_us=np.full(n, ALWAYS_THERE),
        attributes=[{}] * n,
    )


def user_history(interactions: Interactions, user: int, item_ids: list[str]) -> History:
    """All events of a shopper, as a store would hand them out."""
    mine = interactions.user == user
    return History(
        [item_ids[row] for row in interactions.row[mine]],
        [TYPES[code] for code in interactions.event_type[mine]],
        interactions.timestamp_us[mine].tolist(),
    )


def ingested(folder: Path, shop: TasteShop, train: TrainSettings) -> Settings:
    """Ingest the shop into a real lake in `folder`; the last 14 days are the test."""
    ingest_texts(folder, items=_items_csv(shop.catalog), events=_events_csv(shop))
    return Settings(
        paths=PathSettings(lake=folder / "lake", bundles=folder / "bundles", runs=folder / "runs"),
        train=train,
        evaluate=EvaluateSettings(test_days=14, bootstrap_samples=200),
    )


def _items_csv(catalog: CatalogTable) -> str:
    rows = zip(
        catalog.item_ids,
        catalog.title,
        [CATEGORY_SEPARATOR.join(path) for path in catalog.category_path],
        ["" if np.isnan(price) else f"{price:.2f}" for price in catalog.price],
        [brand or "" for brand in catalog.brand],
        [json.dumps(attributes) for attributes in catalog.attributes],
        strict=True,
    )
    return _csv(("item_id", "title", "category_path", "price", "brand", "attributes"), rows)


def _events_csv(shop: TasteShop) -> str:
    events = shop.interactions
    rows = zip(
        [events.user_ids[user] for user in events.user],
        [shop.catalog.item_ids[row] for row in events.row],
        [TYPES[code] for code in events.event_type],
        [to_datetime(int(moment)).isoformat() for moment in events.timestamp_us],
        strict=True,
    )
    return _csv(("user_id", "item_id", "event_type", "timestamp"), rows)


def _csv(header: tuple[str, ...], rows: zip[tuple[str, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
