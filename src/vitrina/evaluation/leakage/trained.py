"""The towers and the draft that are there: were they made of the past alone?

What follows from the events, and from the learnt weights, is computed again from a lake with
another future. The learnt weights themselves can only be had by training again (`check_weights`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from vitrina.bundle.bundle import ITEM_TOWER, USER_TOWER, load_bundle
from vitrina.evaluation.leakage.check import Check, compared
from vitrina.evaluation.leakage.known import Known, held_by, tensors_of, towers_in, towers_of
from vitrina.lake.sequences import Interactions
from vitrina.settings import Settings
from vitrina.towers.assemble import DRAFT
from vitrina.towers.run import (
    TOWERS,
    TrainingData,
    completed,
    load_training_data,
    served,
    training_identity,
)
from vitrina.towers.training import TwoTowers, build

TOLERANCE: Final = 1e-3
"""Of numbers that another number of threads adds up in another order."""
ROUNDING: Final = 1e-6
"""Of numbers that the same threads add up: a training can be repeated."""
FACTORS: Final = "id_table"
COMPARED_FACTORS: Final = 500
FEW_EVENTS: Final = 500
AGAIN: Final = "made again"


def why_not_comparable(settings: Settings, data: TrainingData) -> str:
    """Why the towers in `runs` say nothing about this lake and moment; empty if they do."""
    runs = settings.paths.runs
    report = completed(runs)
    if report is None:
        return f"{runs} holds no trained towers."
    if report.identity != training_identity(settings, data.split):
        return (
            f"The towers in {runs} were trained on other tables, until another moment or with "
            "other settings."
        )
    return ""


def began_with(runs: Path) -> str:
    """Whose weights the towers in `runs` began with; empty if with none."""
    report = completed(runs)
    return "" if report is None else report.warm_start or ""


def check_towers(folder: Path, other: Settings, again: Known) -> list[Check]:
    """The trained towers in `folder`, but for the learnt weights.

    other: settings that read a lake with another future. again: towers trained on it, for however
    few steps.
    """
    data = load_training_data(other)
    towers = _towers_with(folder, other, data)
    names = sorted(towers.item.state_dict())
    stored, made = (
        dict(zip(names, known["item tower"], strict=True)) for known in (towers_in(folder), again)
    )
    fixed = [name for name, _ in towers.item.named_buffers()]
    checks = [
        compared(
            "towers: item features",
            AGAIN,
            [stored[name] for name in fixed if name != FACTORS],
            [made[name] for name in fixed if name != FACTORS],
            "What the trained towers know of the items is not what was known at the moment. "
            "Train again.",
        )
    ]
    if FACTORS in fixed:
        rows = _most_met(data.interactions, len(data.catalog))
        checks.append(
            compared(
                "towers: co-occurrence factors",
                AGAIN,
                [_similarities(stored[FACTORS], rows)],
                [_similarities(made[FACTORS], rows)],
                "The trained towers' item factors hold who met what together at or after the "
                "moment. Train again.",
                tolerance=TOLERANCE,
            )
        )
    vectors, user = served(towers, data, other.train)
    known = towers_in(folder)
    return [
        *checks,
        compared(
            "towers: item vectors",
            AGAIN,
            known["item vectors"],
            [vectors],
            "The trained weights give other item vectors with the popularity before the moment: "
            "the vectors count what came later. Train again.",
            tolerance=TOLERANCE,
        ),
        compared(
            "towers: user tower",
            AGAIN,
            known["user tower"],
            tensors_of(user.state_dict()),
            "The trained weights give another mean shopper with the histories before the moment. "
            "Train again.",
            tolerance=TOLERANCE,
        ),
    ]


def check_draft(runs: Path, again: Known) -> list[Check]:
    """The draft in `runs`, if there is one.

    again: what was made of the towers in `runs`, with another future.
    """
    if not (runs / DRAFT).is_dir():
        return []
    stored = load_bundle(runs / DRAFT, verify=False)
    checks = [
        compared(
            "draft: item vectors",
            "the towers",
            towers_in(runs / TOWERS)["item vectors"],
            [stored.vectors.values],
            "The draft holds vectors of other towers. Run 'vitrina index' again.",
        )
    ]
    return checks + [
        compared(
            f"draft: {subject}",
            AGAIN,
            expected,
            again[subject],
            f"The draft's {subject} have seen events at or after the moment. Run 'vitrina index' "
            "again.",
            tolerance=TOLERANCE,
        )
        for subject, expected in held_by(stored).items()
    ]


def check_weights(folder: Path, other: Settings) -> list[Check]:
    """The trained towers in `folder`, every number, against the same training on another future.

    other: settings that read the lake with it, and a new folder for runs.
    """
    again = towers_of(other)
    return [
        compared(
            f"whole training: {subject}",
            AGAIN,
            expected,
            again[subject],
            f"The whole training, repeated with another future, ends with another {subject}: the "
            "one in use has seen events at or after the moment, or was trained with another number "
            "of threads or on another machine. Train again, and audit again.",
            tolerance=ROUNDING,
        )
        for subject, expected in towers_in(folder).items()
    ]


def _towers_with(folder: Path, settings: Settings, data: TrainingData) -> TwoTowers:
    """The towers of the weights in `folder`."""
    # All that is made of events is replaced by what the folder holds: a few of them will do.
    few = data.interactions.where(np.arange(len(data.interactions)) < FEW_EVENTS)
    item = load_file(folder / ITEM_TOWER)
    fields = [name for name in item if re.fullmatch(r"content\.fields\.\d+\.weight", name)]
    widths = [item[f"content.fields.{place}.weight"].shape[1] for place in range(len(fields))]
    towers = build(few, data.catalog, settings.train, len(data.event_types), widths)
    towers.item.load_state_dict(item)
    served = load_file(folder / USER_TOWER)
    own = {name.removeprefix("encoder."): value for name, value in served.items()}
    towers.user.load_state_dict({name: own[name] for name in towers.user.state_dict()})
    return towers.eval()


def _most_met(interactions: Interactions, items: int) -> NDArray[np.int64]:
    counts = np.bincount(interactions.row, minlength=items)
    return np.argsort(-counts, kind="stable")[:COMPARED_FACTORS]


def _similarities(factors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inner products of the rows: alike however a decomposition turns its axes."""
    some = factors[rows]
    products: NDArray[np.float32] = some @ some.T
    return products
