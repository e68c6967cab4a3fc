"""Warm start: towers that begin with the weights of earlier ones, for a catalog that has changed.

Rows of tables are carried over by what they stand for: an item's id, a brand, a category, an
attribute's value, an event type. What has gone is dropped; what is new begins at zero, so that it
says nothing until it is learnt, and a new item begins where its content puts it. All else is
copied. Factors, collaborative and of text, are found anew, and turned to lie as the old ones did.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitrina.bundle import bundle as layout
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.files import sha256_of
from vitrina.bundle.registry import Registry
from vitrina.content import Vocabularies
from vitrina.errors import TrainingError
from vitrina.lake.split import to_datetime
from vitrina.settings import PathSettings, TrainSettings
from vitrina.towers.checkpoint import trainable
from vitrina.towers.export import save_weights
from vitrina.towers.training import TwoTowers

FIELDS: Final = "item.content.fields."
TEXT_FACTORS: Final = "content.text_factors"
FACTORS: Final = ("id_table", TEXT_FACTORS)
"""Of the item tower, what is no parameter: rows of items that a decomposition has found."""
WAY_OUT: Final = "Train once without --warm-start."


@dataclass(frozen=True, slots=True)
class EarlierTowers:
    """Trained towers and what their rows stand for.

    source: as people know them. identity: digest of the weights. weights: by the names that
    `trainable` gives them, and the item tower's buffers.
    """

    source: str
    identity: str
    shape: Mapping[str, Any]
    data_until_us: int
    item_ids: Sequence[str]
    event_types: Sequence[str]
    vocabularies: Vocabularies
    weights: Mapping[str, Tensor]

    @property
    def widths(self) -> list[int]:
        """Of the embeddings of the categorical fields."""
        fields = len(self.vocabularies.fields) + 1  # price buckets have no vocabulary
        return [self.weights[f"{FIELDS}{number}.weight"].shape[1] for number in range(fields)]


def save_towers(
    folder: Path,
    towers: TwoTowers,
    user: nn.Module,
    item_ids: Sequence[str],
    event_types: Sequence[str],
    settings: TrainSettings,
    data_until_us: int,
) -> None:
    """Write weights, item ids and what else a warm start needs.

    user: the user tower as served. data_until_us: the moment that all training events are before.
    """
    save_weights(towers.item, folder / layout.ITEM_TOWER)
    save_weights(user, folder / layout.USER_TOWER)
    _write_json(folder / layout.ITEM_IDS, item_ids)
    vocabularies = towers.item.vocabularies
    about = {
        "format": layout.TOWERS_FORMAT,
        "shape": shape_of(settings),
        "data_until_us": data_until_us,
        "event_types": event_types,
        "fields": vocabularies.fields,
        "attributes": vocabularies.attributes,
        "log_scale": towers.log_scale.item(),
        "weights": _identity(folder),
    }
    _write_json(folder / layout.TOWERS, about)


def shape_of(settings: TrainSettings) -> dict[str, Any]:
    """What two trainings must have in common for one to begin where the other has ended."""
    names = ["objective", "dim", "encoder"]
    names += ["blocks"] if settings.encoder == "transformer" else []
    return {name: getattr(settings, name) for name in names}


def earlier_towers(paths: PathSettings, last_run: Path) -> EarlierTowers:
    """Those of the current bundle, or of the last run where nothing was promoted yet.

    last_run: its folder of towers. Raises TrainingError when there is neither, or what there is
    cannot be used; BundleError or SpaceMismatch when the bundle is damaged.
    """
    registry = Registry(paths.bundles)
    version = registry.current()
    if version is not None:
        bundle = load_bundle(registry.path(version))  # verifies all that is read here
        return _load(bundle.path, f"the current bundle, {version}")
    if last_run.is_dir():
        return _load(last_run, f"the last run, in {last_run}")
    raise TrainingError(
        f"There is nothing to start from: no bundle was promoted in {paths.bundles}, and "
        f"{last_run} is not there. {WAY_OUT}"
    )


def require_same_shape(earlier: EarlierTowers, settings: TrainSettings) -> None:
    """Raise TrainingError, naming what differs, unless the settings make towers of that shape."""
    now = shape_of(settings)
    differences = [
        f"train.{name} was {earlier.shape.get(name)!r} and is {now.get(name)!r}"
        for name in {**earlier.shape, **now}
        if earlier.shape.get(name) != now.get(name)
    ]
    if differences:
        raise TrainingError(
            f"A warm start from {earlier.source} is not possible: {', '.join(differences)}. Set "
            f"it back, or train once without --warm-start."
        )


def require_no_future(earlier: EarlierTowers, cut_us: int) -> None:
    """Raise TrainingError if the earlier towers have learnt from events at or after the cut.

    What begins with their weights would be judged on days that it has seen.
    """
    if earlier.data_until_us > cut_us:
        until, cut = to_datetime(earlier.data_until_us), to_datetime(cut_us)
        raise TrainingError(
            f"A warm start from {earlier.source} is not possible: it has learnt from events up to "
            f"{until:%Y-%m-%d %H:%M}, and this training ends at {cut:%Y-%m-%d %H:%M}. Set a later "
            f"evaluate.cut, or train once without --warm-start."
        )


def carry_over(
    towers: TwoTowers,
    item_ids: Sequence[str],
    event_types: Sequence[str],
    earlier: EarlierTowers,
) -> None:
    """Give fresh towers the earlier ones' weights.

    Raises TrainingError when a weight is missing or of another shape.
    """
    weights = trainable(towers)
    keys = _keys(towers.item.vocabularies, item_ids, event_types)
    before = _keys(earlier.vocabularies, earlier.item_ids, earlier.event_types)
    _require_fit(weights, keys, earlier)
    with torch.no_grad():
        for name, value in weights.items():
            known = earlier.weights[name]
            if name in keys:
                now, then = _shared(keys[name], before[name])
                value.zero_()
                value[now] = known[then]
            else:
                value.copy_(known)
        now, then = _shared(item_ids, earlier.item_ids)
        for name, factors in towers.item.named_buffers():
            if name in FACTORS:
                turn = rotation(factors[now], earlier.weights[f"item.{name}"][then])
                factors.copy_(factors @ turn)
                if name == TEXT_FACTORS:
                    towers.item.content.text_words.copy_(towers.item.content.text_words @ turn)


def rotation(moved: Tensor, target: Tensor) -> Tensor:
    """The orthogonal R for which moved @ R is nearest to target: [d, d]; both are [n, d].

    Orthogonal Procrustes (Schönemann, Psychometrika 1966). Singular vectors come in any order and
    with any sign; turned, they mean what they meant when the towers learnt to read them.
    """
    left, _, right = torch.linalg.svd(moved.double().T @ target.double())
    turn: Tensor = (left @ right).to(moved.dtype)
    return turn


def _keys(
    vocabularies: Vocabularies, item_ids: Sequence[str], event_types: Sequence[str]
) -> dict[str, Sequence[Hashable]]:
    """What the rows of each table stand for."""
    keys: dict[str, Sequence[Hashable]] = {
        "item.id_table": item_ids,
        "item.content.attributes.table.weight": vocabularies.attributes,
        "user.event_type.weight": event_types,
    }
    for number, values in enumerate(vocabularies.fields):
        keys[f"{FIELDS}{number}.weight"] = [None, *values]
    return keys


def _shared(
    now: Sequence[Hashable], then: Sequence[Hashable]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows in both of what `now` and `then` have in common."""
    place = {key: row for row, key in enumerate(then)}
    found = np.array([place.get(key, -1) for key in now], np.int64)
    return np.flatnonzero(found >= 0), found[found >= 0]


def _require_fit(
    weights: Mapping[str, Tensor], keys: Mapping[str, Any], earlier: EarlierTowers
) -> None:
    for name, value in weights.items():
        known = earlier.weights.get(name)
        first = 1 if name in keys else 0
        if known is None or known.shape[first:] != value.shape[first:]:
            found = "missing" if known is None else f"of shape {tuple(known.shape)}"
            raise TrainingError(
                f"A warm start from {earlier.source} is not possible: its '{name}' is {found}, "
                f"these towers have {tuple(value.shape)}: the catalog has other columns than "
                f"it had. {WAY_OUT}"
            )


def _load(folder: Path, source: str) -> EarlierTowers:
    path = folder / layout.TOWERS
    about = orjson.loads(path.read_bytes()) if path.is_file() else {}
    if about.get("format") != layout.TOWERS_FORMAT:
        raise TrainingError(
            f"A warm start from {source} is not possible: another version of Vitrina has trained "
            f"it. {WAY_OUT}"
        )
    try:
        item_ids = orjson.loads((folder / layout.ITEM_IDS).read_bytes())
        item, user = (load_file(folder / name) for name in (layout.ITEM_TOWER, layout.USER_TOWER))
        identity = _identity(folder)
    except (OSError, orjson.JSONDecodeError, SafetensorError) as error:
        raise TrainingError(
            f"A warm start from {source} is not possible: {error}. {WAY_OUT}"
        ) from error
    if about["weights"] != identity or len(item_ids) != len(item["id_table"]):
        raise TrainingError(
            f"A warm start from {source} is not possible: its weights, its item ids and its "
            f"{layout.TOWERS} come from different trainings. {WAY_OUT}"
        )
    weights = {f"item.{name}": value for name, value in item.items()}
    # What is served may wrap the trained encoder (`TowardsCentre`).
    weights |= {f"user.{name.removeprefix('encoder.')}": value for name, value in user.items()}
    weights["log_scale"] = torch.tensor(about["log_scale"])
    return EarlierTowers(
        source=source,
        identity=identity,
        shape=about["shape"],
        data_until_us=about["data_until_us"],
        item_ids=item_ids,
        event_types=about["event_types"],
        vocabularies=Vocabularies(
            about["fields"], [(name, value) for name, value in about["attributes"]]
        ),
        weights=weights,
    )


def _identity(folder: Path) -> str:
    """Digest of the weights and of the ids that their rows belong to."""
    names = (layout.ITEM_TOWER, layout.USER_TOWER, layout.ITEM_IDS)
    return "-".join(sha256_of(folder / name) for name in names)


def _write_json(path: Path, values: Any) -> None:
    path.write_bytes(orjson.dumps(values))
