"""Example requests and answers for the OpenAPI pages."""

from __future__ import annotations

from typing import Any, Final

_VERSIONS: Final[dict[str, Any]] = {
    "user_embedding_version": "user_v20260105T090000-3f2a",
    "item_embedding_version": "items_v20260105T090000-3f2a",
    "bundle": "20260105T090000-3f2a",
}

ITEM: Final[dict[str, Any]] = {
    "item_id": "951590",
    "title": "White bread 20 oz",
    "category_path": ["GROCERY", "BAKED BREAD/BUNS/ROLLS", "MAINSTREAM WHITE BREAD"],
    "price": 1.25,
    "currency": "USD",
    "brand": "National",
    "location": "Cincinnati",
    "condition": "new",
    "available": True,
}

_SHOWN: Final[dict[str, Any]] = {**ITEM, "score": 0.8123, "source": "repurchase", "position": 1}

ITEMS_CHANGE: Final[list[dict[str, Any]]] = [
    {"item_id": "951590", "price": 1.1},
    {"item_id": "1082185", "available": False},
]

ITEMS_ANSWER: Final[dict[str, Any]] = {"accepted": 2, "waiting": []}

ITEM_IDS: Final[dict[str, Any]] = {"item_ids": ["951590", "1082185"]}

DELETED: Final[dict[str, Any]] = {"accepted": 1}

EVENT: Final[dict[str, Any]] = {
    "event_id": "0b9c7c3e-4d0f-4f6e-9a35-6f0d2f5f8c11",
    "user_id": "1024",
    "item_id": "951590",
    "event_type": "view",
    "timestamp": "2026-01-05T10:15:00Z",
}

EVENTS_ANSWER: Final[dict[str, Any]] = {"accepted": 1, "duplicates": 0, "unknown_items": 0}

RECOMMENDATION_REQUEST: Final[dict[str, Any]] = {
    "user_id": "1024",
    "k": 10,
    "shelf": "for_you",
    "surface": "home",
    "device_type": "mobile",
    "category": ["GROCERY"],
    "location": ["Cincinnati", "Columbus"],
    "condition": ["new"],
    "max_price": 5,
}

RECOMMENDATIONS: Final[dict[str, Any]] = {
    "request_id": "6f9b2f0a8f6d4d6c9f0e6b1c2d3e4f50",
    "user_id": "1024",
    "session_id": None,
    "device_type": "mobile",
    "shelf": "for_you",
    "served_by": "learned",
    "degraded": [],
    **_VERSIONS,
    "items": [_SHOWN],
    "cursor": "AX7FVw5pxCOHZA",
    "timings_ms": {
        "history": 0.21,
        "user_vector": 0.02,
        "candidates": 0.64,
        "rank": 0.18,
        "hydrate": 0.05,
        "total": 1.13,
    },
}

BATCH_REQUEST: Final[dict[str, Any]] = {
    "requests": [RECOMMENDATION_REQUEST, {"session_id": "visit-1", "k": 0}]
}

BATCH: Final[dict[str, Any]] = {
    "answers": [
        RECOMMENDATIONS,
        {
            "type": "about:blank",
            "title": "Unprocessable Entity",
            "status": 422,
            "detail": "The recommendation request cannot be used.",
            "errors": [{"field": "k", "message": "Input should be greater than or equal to 1"}],
        },
    ]
}

SIMILAR: Final[dict[str, Any]] = {
    "item_id": "1082185",
    "degraded": [],
    "item_embedding_version": _VERSIONS["item_embedding_version"],
    "bundle": _VERSIONS["bundle"],
    "items": [{**_SHOWN, "source": "ann"}],
}

EMBEDDING: Final[dict[str, Any]] = {
    "user_embedding": {"dim": 64, "norm": 1.0},
    "user_embedding_version": _VERSIONS["user_embedding_version"],
    "depends_on": {"item_embedding_version": _VERSIONS["item_embedding_version"]},
    "rung": "learned",
}

HISTORY: Final[dict[str, Any]] = {
    "user_id": "1024",
    "events": [
        {"item_id": "951590", "event_type": "purchase", "timestamp": "2026-01-04T18:02:11Z"},
        {"item_id": "1082185", "event_type": "view", "timestamp": "2026-01-05T10:15:00Z"},
    ],
}

ALIVE: Final = {"status": "alive"}

READY: Final[dict[str, Any]] = {
    "status": "ready",
    "bundle": _VERSIONS["bundle"],
    "problem": None,
    "breakers": {"index": "closed", "ranker": "closed"},
}

NOT_READY: Final[dict[str, Any]] = {
    "status": "not ready",
    "bundle": None,
    "problem": "No bundle has been promoted yet.",
    "breakers": {},
}

METRICS: Final = 'vitrina_requests_total{route="/v1/recommendations",status="200"} 42.0\n'

IDENTITY: Final[dict[str, Any]] = {"session_id": "c2f1a0", "user_id": "1024"}

IDENTITY_ANSWER: Final[dict[str, Any]] = {**IDENTITY, "joined": True}

EXPORT: Final[dict[str, Any]] = {
    "user_id": "1024",
    "sessions": ["c2f1a0"],
    "events": [{**EVENT, "purposes": ["personalisation", "training"]}],
    "history": HISTORY["events"],
    "purchases": [{"item_id": "951590", "count": 3, "last": "2026-01-04T18:02:11Z"}],
}

RECEIPT: Final[dict[str, Any]] = {
    "receipt_id": "5f3c6b1e9a6d4c1f8e0b7a2d9c4e6f10",
    "erased_at": "2026-01-05T10:16:00Z",
    "deleted": {"events": 12, "history": 240, "purchases": 31, "sessions": 1},
}
