"""What the service answers, as objects. Fields that a newer server adds are in `raw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalog; what the shop does not say is None. raw: all of its fields."""

    item_id: str
    title: str | None
    category_path: Sequence[str]
    brand: str | None
    price: float | None
    currency: str | None
    image_url: str | None
    available: bool | None
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            item_id=raw["item_id"],
            title=raw.get("title"),
            category_path=raw.get("category_path", ()),
            brand=raw.get("brand"),
            price=raw.get("price"),
            currency=raw.get("currency"),
            image_url=raw.get("image_url"),
            available=raw.get("available"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """An item in its place on a shelf. position: from 1; events that answer it send it along."""

    item: Item
    position: int
    source: str
    score: float | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(Item.of(raw), raw["position"], raw["source"], raw["score"])


@dataclass(frozen=True, slots=True)
class Recommendations:
    """An answer. request_id: events that answer it send it along. degraded: what went wrong inside.

    cursor: asks for the next page; None on the last. message: why there are no items.
    """

    request_id: str
    items: Sequence[Shown]
    served_by: str
    degraded: Sequence[str]
    bundle: str
    cursor: str | None
    message: str | None
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            request_id=raw["request_id"],
            items=[Shown.of(item) for item in raw["items"]],
            served_by=raw["served_by"],
            degraded=raw["degraded"],
            bundle=raw["bundle"],
            cursor=raw.get("cursor"),
            message=raw.get("message"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Events that are on disk. duplicates: known before; unknown_items: the bundle lacks them."""

    accepted: int
    duplicates: int
    unknown_items: int

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(raw["accepted"], raw["duplicates"], raw["unknown_items"])


@dataclass(frozen=True, slots=True)
class Erased:
    """The receipt of an erasure: keep it. deleted: how much of what."""

    receipt_id: str
    erased_at: str
    deleted: Mapping[str, int]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(raw["receipt_id"], raw["erased_at"], raw["deleted"])
