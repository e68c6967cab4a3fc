"""A tiny generated shop as a real bundle: small enough for every test, loadable by every part."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from vitrina.bundle.bundle import TOWERS, TOWERS_FORMAT
from vitrina.bundle.manifest import Lineage, define_space
from vitrina.bundle.writer import BundleContents, write_bundle
from vitrina.content import PRICE_BUCKETS, TEXT_BUCKETS
from vitrina.index.base import IndexInfo
from vitrina.index.faiss import FaissIndex
from vitrina.schema import CATEGORY_SEPARATOR, DEFAULT_EVENT_WEIGHTS
from vitrina.space import FloatMatrix, Vectors, normalise

MADE_AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
EVENT_TYPES = tuple(DEFAULT_EVENT_WEIGHTS)
DEPARTMENTS = ("BAKERY", "DAIRY", "GROCERY", "PRODUCE")
BRANDS = ("Acme", "Borealis", "Cumulus", None)
LOCATIONS = ("Lyon", "Nantes", None)
CONDITIONS = ("new", "used", "new", "new", None)


def tiny_bundle(
    folder: Path,
    *,
    seed: int = 0,
    items: int = 300,
    dim: int = 16,
    max_history: int = 20,
    ranking: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    places_items: bool = True,
) -> Path:
    """Write a bundle of a generated shop to `folder`/<version> and return that path.

    Another seed is another shop, an hour younger. Items are `item-0000`, `item-0001`, …; rows of
    one category (`shop_items`) have vectors close to one another, and so does what is added to it;
    unless `places_items` is off: then it is as an older version made it, which could not add any.
    """
    contents, towers = tiny_contents(seed=seed, items=items, dim=dim, max_history=max_history)
    with towers:
        contents = replace(contents, ranking=ranking or {}, metrics=metrics or {})
        if not places_items:
            contents = replace(contents, optional=())
        version = contents.vectors.space.version.removeprefix("items_v")
        return write_bundle(folder / version, contents)


def tiny_contents(
    *, seed: int = 0, items: int = 300, dim: int = 16, max_history: int = 20
) -> tuple[BundleContents, TemporaryDirectory[str]]:
    """The parts of `tiny_bundle`, and the folder that holds its towers until it is closed."""
    rng = np.random.default_rng(seed)
    towers = TemporaryDirectory()
    home = Path(towers.name)
    weights = {"weight": rng.standard_normal((4, dim)).astype(np.float32)}
    save_file(weights, home / "user_tower.safetensors")
    onnx.save(mean_encoder(dim), str(home / "user_tower.onnx"))
    rows = shop_items(rng, items)
    values = shop_vectors(rng, rows, dim)
    save_item_tower(home, rows, values)
    created_at = MADE_AT + timedelta(hours=seed)
    space = define_space(
        [row["item_id"] for row in rows], values, home / "item_tower.safetensors", created_at
    )
    vectors = Vectors(space, values)
    contents = BundleContents(
        created_at=created_at,
        items=rows,
        vectors=vectors,
        index=FaissIndex.build(vectors),
        index_info=IndexInfo("exact", recall_at_500=1.0, recall_target=0.99),
        popularity=rng.exponential(size=items).astype(np.float32),
        repeat_rate=rng.uniform(0.05, 0.6, size=items).astype(np.float32),
        centroid=normalise(values.mean(0)),
        covisited=neighbours(items),
        item_tower=home / "item_tower.safetensors",
        user_tower=home / "user_tower.safetensors",
        encoder=home / "user_tower.onnx",
        event_types=EVENT_TYPES,
        max_history=max_history,
        optional=[home / TOWERS],
        lineage=Lineage(
            code_version="0.0.0",
            data_from="2025-01-01T00:00:00Z",
            data_until="2026-01-01T00:00:00Z",
            rows={"items": items, "events": 10 * items, "users": items // 10},
            seeds={"shop": seed},
        ),
    )
    return contents, towers


def shop_items(rng: np.random.Generator, items: int) -> list[dict[str, Any]]:
    """Rows of the lake's items table. Some lack brand, price or availability, as in real shops."""
    shelves = [
        (department, f"{department} {aisle}", f"{department} {aisle}{shelf}")
        for department in DEPARTMENTS
        for aisle in "AB"
        for shelf in "12"
    ]
    rows = []
    for number in range(items):
        path = shelves[number % len(shelves)]
        rows.append(
            {
                "item_id": f"item-{number:04d}",
                "title": f"{path[-1].title()} no. {number}",
                "description": None,
                "category_path": CATEGORY_SEPARATOR.join(path),
                "price": None if number % 29 == 0 else round(float(rng.uniform(1, 50)), 2),
                "currency": "USD",
                "brand": BRANDS[number % len(BRANDS)],
                "location": LOCATIONS[number % len(LOCATIONS)],
                "condition": CONDITIONS[number % len(CONDITIONS)],
                "available": number % 20 != 7,
                "attributes": json.dumps({"number": number}),
            }
        )
    return rows


def shop_vectors(rng: np.random.Generator, rows: list[dict[str, Any]], dim: int) -> FloatMatrix:
    """Unit vectors [n, dim], each near the centre of its category."""
    _, category = np.unique([row["category_path"] for row in rows], return_inverse=True)
    centres = rng.standard_normal((category.max() + 1, dim))
    return normalise(centres[category] + 0.3 * rng.standard_normal((len(rows), dim)))


def save_item_tower(home: Path, rows: list[dict[str, Any]], values: FloatMatrix) -> None:
    """An item tower that places an item in the middle of its category, whatever else it is."""
    paths = np.array([row["category_path"] for row in rows])
    categories, code = np.unique(paths, return_inverse=True)
    dim, nothing = values.shape[1], np.zeros((1, 1), np.float32)
    middles = np.zeros((len(categories) + 1, dim), np.float32)
    np.add.at(middles, code + 1, values)
    # Category levels, brand, condition, location and price; then words, then the id.
    tables = [nothing, nothing, normalise(middles), nothing, nothing, nothing]
    tables.append(np.zeros((PRICE_BUCKETS, 1), np.float32))
    place = np.zeros((dim, dim + len(tables) - 1 + 1 + dim), np.float32)
    place[:, 2 : 2 + dim] = np.eye(dim)
    weights = {
        "content.text.table.weight": np.zeros((TEXT_BUCKETS, 1), np.float32),
        "usual_popularity": np.zeros(0, np.float32),
        "id_table": np.zeros((len(rows), dim), np.float32),
        # gelu(x) − gelu(−x) = x
        "mix.0.weight": np.concatenate([place, -place]),
        "mix.0.bias": np.zeros(2 * dim, np.float32),
        "mix.2.weight": np.concatenate([np.eye(dim), -np.eye(dim)], axis=1, dtype=np.float32),
        "mix.2.bias": np.full(dim, 1e-3, np.float32),
    }
    weights |= {f"content.fields.{number}.weight": table for number, table in enumerate(tables)}
    save_file(weights, home / "item_tower.safetensors")
    fields = [[], [], categories.tolist(), [], [], []]
    about = {"format": TOWERS_FORMAT, "fields": fields, "attributes": []}
    (home / TOWERS).write_text(json.dumps(about))


def neighbours(items: int) -> NDArray[np.int32]:
    """Four other items of each item's shelf, as if they were met in the same visits: [n, 4]."""
    shelves = 4 * len(DEPARTMENTS)
    steps = shelves * np.arange(1, 5, dtype=np.int32)
    listed = np.arange(items, dtype=np.int32)[:, None] + steps
    return np.where(listed < items, listed, -1)


def mean_encoder(dim: int) -> onnx.ModelProto:
    """A user tower with no weights: the normalised mean of the masked item vectors."""
    inputs = [
        helper.make_tensor_value_info("item_vectors", TensorProto.FLOAT, ["B", "L", dim]),
        helper.make_tensor_value_info("event_types", TensorProto.INT64, ["B", "L"]),
        helper.make_tensor_value_info("days", TensorProto.FLOAT, ["B", "L"]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, ["B", "L"]),
    ]
    output = helper.make_tensor_value_info("user_vectors", TensorProto.FLOAT, ["B", dim])
    constants = [
        helper.make_tensor("last_axis", TensorProto.INT64, [1], [2]),
        helper.make_tensor("time_axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("tiny", TensorProto.FLOAT, [1], [1e-12]),
    ]
    nodes = [
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last_axis"], ["weights"]),
        helper.make_node("Mul", ["item_vectors", "weights"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "time_axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceL2", ["sum", "time_axis"], ["norm"], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["length"]),
        helper.make_node("Div", ["sum", "length"], ["user_vectors"]),
    ]
    graph = helper.make_graph(nodes, "mean_encoder", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
