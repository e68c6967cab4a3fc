"""Amazon Reviews: lists, prices with a sign, scraps of HTML, products that nobody describes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy


def lines(*objects: dict[str, Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in objects)


def product_2018(asin: str, **fields: Any) -> dict[str, Any]:
    """A line of meta_*.json as published: what is not known is there, and empty."""
    empty = {"category": [], "tech1": "", "description": [], "fit": "", "title": "", "also_buy": []}
    more = {"tech2": "", "brand": "", "feature": [], "rank": [], "also_view": [], "details": {}}
    last = {"main_cat": "All Beauty", "similar_item": "", "date": "", "price": "", "asin": asin}
    return {**empty, **more, **last, "imageURL": [], "imageURLHighRes": [], **fields}


META_2018 = lines(
    product_2018(
        "6546546450",
        title="Loud 'N Clear&trade; Personal Sound &amp; Amplifier",
        description=["Loud 'N Clear lets you", "turn up the volume."],
        brand="idea village",
        price="$1,007.86",
        imageURLHighRes=["https://images-na.ssl-images-amazon.com/images/I/41.jpg"],
    ),
    product_2018(
        "B00006IGL2",
        title="Kiss My Face",
        category=["Beauty &amp; Personal Care", "Skin", "</span></span></span>", "Imported" * 9],
        price="$4.99 - $12.99",
        rank="190,234 in Beauty (",
    ),
    product_2018("0615553605", title="var aPageStart = (new Date()).getTime();", price=".a-box{"),
)
REVIEWS_2018 = lines(
    {
        "image": ["https://images-na.ssl-images-amazon.com/images/I/71eG75FTJJL._SY88.jpg"],
        "overall": 5.0,
        "vote": "2",
        "verified": True,
        "reviewTime": "01 1, 2018",
        "reviewerID": "AUI6WTTT0QZYS",
        "asin": "6546546450",
        "style": {"Size:": "Large"},
        "reviewerName": "Abbey",
        "reviewText": "I now have 4 of the 5\nselections",
        "summary": "Comfy",
        "unixReviewTime": 1514764800,
    },
    {"overall": 4.0, "verified": True, "reviewTime": "07 6, 2014", "reviewerID": "A105A034ZG9EHO",
     "asin": "B0012Y0ZG2", "unixReviewTime": 1404604800},
)  # fmt: skip


def test_the_form_of_2018(tmp_path: Path) -> None:
    copy = write_copy(
        tmp_path / "copy",
        {"All_Beauty.json.gz": REVIEWS_2018, "meta_All_Beauty.json.gz": META_2018},
    )
    report = ingest_copy(tmp_path, "amazon-2018", copy)
    assert items_of(tmp_path) == {
        "6546546450": {
            "item_id": "6546546450",
            "title": "Loud 'N Clear&trade; Personal Sound & Amplifier",
            "description": "Loud 'N Clear lets you turn up the volume.",
            "category_path": "All Beauty",
            "price": 1007.86,
            "currency": "USD",
            "brand": "idea village",
            "image_url": "https://images-na.ssl-images-amazon.com/images/I/41.jpg",
        },
        "B00006IGL2": {
            "item_id": "B00006IGL2",
            "title": "Kiss My Face",
            "category_path": "Beauty & Personal Care > Skin",
            "currency": "USD",
        },
        "0615553605": {
            "item_id": "0615553605",
            "category_path": "All Beauty",
            "currency": "USD",
        },
        "B0012Y0ZG2": {"item_id": "B0012Y0ZG2"},  # reviewed, but not described
    }
    assert events_of(tmp_path, "user_id", "item_id", "event_type", "value", "timestamp") == [
        ("A105A034ZG9EHO", "B0012Y0ZG2", "purchase", 4.0, datetime(2014, 7, 6, tzinfo=UTC)),
        ("AUI6WTTT0QZYS", "6546546450", "purchase", 5.0, datetime(2018, 1, 1, tzinfo=UTC)),
    ]
    assert report.events.quarantined == {}


META_2023 = lines(
    {
        "main_category": "All Electronics",
        "title": "FS-1051 FATSHARK TELEPORTER V3 HEADSET",
        "average_rating": 3.5,
        "rating_number": 6,
        "features": ["UPC: 662774021904"],
        "description": ["Teleporter V3 sets", "a new level."],
        "price": 199.99,
        "images": [
            {
                "thumb": "https://m.media-amazon.com/images/I/41qrX56lsYL._AC_US40_.jpg",
                "large": "https://m.media-amazon.com/images/I/41qrX56lsYL._AC_.jpg",
                "variant": "MAIN",
                "hi_res": None,
            }
        ],
        "videos": [],
        "store": "Fat Shark",
        "categories": ["Electronics", "Television & Video", "Video Glasses"],
        "details": {"Brand": "Fat Shark"},
        "parent_asin": "B00MCW7G9M",
        "bought_together": None,
    },
    {
        "main_category": "All Beauty",
        "title": "Howard LC0008 Leather Conditioner",
        "features": [],
        "description": [],
        "price": None,
        "images": [],
        "videos": [],
        "store": None,
        "categories": [],
        "details": {"UPC": "617390882781"},
        "parent_asin": "B01CUPMQZE",
        "bought_together": None,
    },
)
REVIEW_2023 = {
    "rating": 5.0,
    "title": "Such a lovely scent",
    "text": "This spray is really nice.",
    "images": [],
    "asin": "B00YQ6X8EO",
    "parent_asin": "B00MCW7G9M",
    "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}


def test_the_form_of_2023(tmp_path: Path) -> None:
    reviews = lines(REVIEW_2023, {**REVIEW_2023, "parent_asin": "B07CJYMRWM", "rating": 1.0})
    copy = write_copy(
        tmp_path / "copy",
        {"Electronics.jsonl.gz": reviews, "meta_Electronics.jsonl.gz": META_2023},
    )
    ingest_copy(tmp_path, "amazon-2023", copy)
    items = items_of(tmp_path)
    assert items["B00MCW7G9M"] == {
        "item_id": "B00MCW7G9M",
        "title": "FS-1051 FATSHARK TELEPORTER V3 HEADSET",
        "description": "Teleporter V3 sets a new level.",
        "category_path": "Electronics > Television & Video > Video Glasses",
        "price": 199.99,
        "currency": "USD",
        "brand": "Fat Shark",
        "image_url": "https://m.media-amazon.com/images/I/41qrX56lsYL._AC_.jpg",
    }
    assert items["B01CUPMQZE"]["category_path"] == "All Beauty"
    assert items["B07CJYMRWM"] == {"item_id": "B07CJYMRWM"}
    moment = datetime(2020, 5, 5, 14, 8, 48, 923_000, tzinfo=UTC)
    assert set(events_of(tmp_path, "user_id", "item_id", "event_type", "value", "timestamp")) == {
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B00MCW7G9M", "purchase", 5.0, moment),
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B07CJYMRWM", "purchase", 1.0, moment),
    }


def test_a_broken_line_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    copy = write_copy(
        tmp_path / "copy",
        {
            "Electronics.jsonl.gz": lines(REVIEW_2023) + '{"rating": 5.0, "title": "cut o\n',
            "meta_Electronics.jsonl.gz": META_2023
            + '{"parent_asin": "B0\n'
            + lines({"parent_asin": "B1", "title": "Plain", "description": "one text, no list"}),
        },
    )
    report = ingest_copy(tmp_path, "amazon-2023", copy)
    assert (report.items.kept, sum(report.items.quarantined.values())) == (3, 1)
    assert (report.events.kept, sum(report.events.quarantined.values())) == (1, 1)
    assert items_of(tmp_path)["B1"]["description"] == "one text, no list"


def test_one_category_of_several_can_be_named(tmp_path: Path) -> None:
    copy = write_copy(
        tmp_path / "copy",
        {
            "Electronics.jsonl.gz": lines(REVIEW_2023),
            "meta_Electronics.jsonl.gz": META_2023,
            "Books.jsonl.gz": lines({**REVIEW_2023, "user_id": "reader"}),
            "meta_Books.jsonl.gz": META_2023,
        },
    )
    report = ingest_copy(tmp_path, "amazon-2023", copy / "Electronics.jsonl.gz")
    assert (report.items.files, report.events.files, report.events.kept) == (1, 1, 1)
