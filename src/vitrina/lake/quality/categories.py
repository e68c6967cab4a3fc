"""The tree of categories, and what lies in each."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.schema import CATEGORY_SEPARATOR

PATHS_READ: Final = 50_000
"""Category paths of which the tree is made, those with most items; figures count all of them."""
TREE_CHILDREN: Final = (20, 12, 6, 4)
"""How many categories are shown below one of the level before, for each level of the tree."""


def category_figures(engine: Engine, items: Frame, per_item: Frame) -> dict[str, Any]:
    """Levels and tree of the categories. per_item: item_id and its events, where it has any."""
    counted = items.select("item_id", "category_path").join(per_item, on="item_id", how="left")
    paths = engine.persist(
        counted.group_by("category_path").agg(
            items=nw.len(),
            sold=(~nw.col("events").is_null()).cast(nw.Int64).sum().cast(nw.Int64),
            events=nw.col("events").fill_null(0).sum().cast(nw.Int64),
        )
    )
    path = nw.col("category_path")
    marks = (
        path.str.len_chars()
        - path.str.replace_all(CATEGORY_SEPARATOR, "", literal=True).str.len_chars()
    )
    depth = nw.when(path.is_null()).then(nw.lit(0)).otherwise(marks // len(CATEGORY_SEPARATOR) + 1)
    levels = engine.collect(
        paths.with_columns(level=depth)
        .group_by("level")
        .agg(paths=nw.len(), items=nw.col("items").sum().cast(nw.Int64))
        .sort("level")
    ).to_pylist()
    read = engine.collect(
        paths.filter(~path.is_null())
        .sort("items", "category_path", descending=[True, False])
        .head(PATHS_READ)
    ).to_pylist()
    return {
        "paths": sum(level["paths"] for level in levels if level["level"]),
        "without": sum(level["items"] for level in levels if not level["level"]),
        "levels": [level for level in levels if level["level"]],
        "tree": _tree([(row["category_path"].split(CATEGORY_SEPARATOR), row) for row in read], 0),
    }


def _tree(rows: list[tuple[list[str], dict[str, Any]]], level: int) -> list[dict[str, Any]]:
    """The nodes of one level, most items first; what is not shown is summed up in the last one."""
    if level == len(TREE_CHILDREN):
        return []
    children: dict[str, list[tuple[list[str], dict[str, Any]]]] = {}
    for path, row in rows:
        if len(path) > level:
            children.setdefault(path[level], []).append((path, row))
    nodes = [
        {
            "name": name,
            "items": sum(row["items"] for _, row in below),
            "sold": sum(row["sold"] for _, row in below),
            "events": sum(row["events"] for _, row in below),
            "children": below,
        }
        for name, below in children.items()
    ]
    nodes.sort(key=lambda node: (-node["items"], node["name"]))
    shown, hidden = nodes[: TREE_CHILDREN[level]], nodes[TREE_CHILDREN[level] :]
    for node in shown:
        node["children"] = _tree(node["children"], level + 1)
    if hidden:
        sums = {name: sum(node[name] for node in hidden) for name in ("items", "sold", "events")}
        shown.append({"name": None, "others": len(hidden), **sums, "children": []})
    return shown
