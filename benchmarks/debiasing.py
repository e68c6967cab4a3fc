"""What do the logQ correction and sub-sampling cost, and what do they change in what is shown?

Two ways to have a say in how popular the items shown are (`vitrina.towers.losses`), each turned up
step by step on Beauty, with the event before the last to be found (`quality.py` has the split):

    logQ           how much of the correction for how often an item is among the negatives is taken
                   off its score: 0 none (`train.log_q = "none"`), 1 all of it ("refined")
    sub-sampling   the share of all events above which an item's events count less
                   (`train.subsample`); 1 never

The towers are 64 wide, begin with the same weights, and tell each target from the other targets of
the batch and from items drawn evenly. Accuracy against the mean popularity percentile of the first
ten items, how much of the catalog is shown to anybody, and how unevenly (Gini: 0 all items alike, 1
a single one). Drawn in docs/pictures/debiasing.png.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

import matplotlib
import numpy as np
import torch
from academic import Data, judge_lists, make_lake, ranked_lists, read
from numpy.typing import NDArray
from quality import CHOSEN
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vitrina.evaluation.metrics import Rows, coverage, mean_popularity
from vitrina.evaluation.protocols import LeaveOneOut, leave_one_out
from vitrina.settings import TrainSettings
from vitrina.towers.encode import user_vectors
from vitrina.towers.next_item import SequenceBatch
from vitrina.towers.objectives import NextItem, objective_of
from vitrina.towers.training import TwoTowers, build, fit

PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "debiasing.png"
TOP: Final = 10
STRENGTHS: Final = (0.0, 0.5, 1.0)
THRESHOLDS: Final = (1e-4, 3e-5, 1e-5)
BASE: Final = CHOSEN | {"dim": 64, "negatives": 1024, "log_q": "refined", "checkpoint_minutes": 1e6}
LOG_Q, SUBSAMPLE = "logQ", "sub-sampling"


@dataclass(frozen=True, slots=True)
class Point:
    """One training. popularity: mean percentile of what is shown, 0 … 1, in events of training."""

    strength: float
    threshold: float
    recall: float
    ndcg: float
    popularity: float
    coverage: float
    gini: float


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as name:
        folder = Path(name)
        data = read(make_lake("Beauty", folder), shoppers=options.shoppers)
        split = leave_one_out(data.interactions, len(data.catalog), hold=2)
        settings = TrainSettings.model_validate(BASE)
        start = build(split.train, data.catalog, settings, len(data.type_weights))
        points = []
        for strength, threshold in wanted(options.only):
            began = time.perf_counter()
            towers = copy.deepcopy(start)
            train(towers, data, split, strength, threshold, options.epochs, folder)
            points.append(judge(towers, split, len(data.catalog), strength, threshold))
            console.print(f"{points[-1]}, {time.perf_counter() - began:.0f} s")
    console.print(table(points))
    if not options.only:
        draw(points, options.picture)
        console.print(f"Drawn in {options.picture}.")


def wanted(only: int | None) -> list[tuple[float, float]]:
    """Strength of logQ and threshold of sub-sampling of each training: one of the two is moved."""
    both = [(strength, 1.0) for strength in STRENGTHS]
    return (both + [(1.0, threshold) for threshold in THRESHOLDS])[:only]


def train(
    towers: TwoTowers,
    data: Data,
    split: LeaveOneOut,
    strength: float,
    threshold: float,
    epochs: int,
    folder: Path,
) -> None:
    items, weights = len(data.catalog), data.type_weights
    settings = TrainSettings.model_validate(BASE | {"subsample": threshold})
    per_epoch = objective_of(split.train, items, weights, settings).steps_per_epoch
    settings = settings.model_copy(update={"steps": epochs * per_epoch})
    whole = NextItem._log_odds

    def share(self: NextItem, batch: SequenceBatch, rows: NDArray[np.int64]) -> Tensor:
        return strength * whole(self, batch, rows)

    # The product knows none and all of it; what is between the two is for the picture alone.
    with patch.object(NextItem, "_log_odds", share):
        identity = f"{strength} {threshold}"
        fit(towers, split.train, weights, settings, folder / "checkpoints", identity)


def judge(
    towers: TwoTowers, split: LeaveOneOut, items: int, strength: float, threshold: float
) -> Point:
    vectors = towers.item.embed_catalog()
    history = BASE["max_history"]
    users = user_vectors(towers.user, vectors, split.train, split.users, history)
    ranked = ranked_lists(lambda part: users[part] @ vectors.T, split)
    found = judge_lists(ranked, split)
    events = np.bincount(split.train.row, minlength=items).astype(np.float64)
    return Point(
        strength,
        threshold,
        found["recall@10"],
        found["ndcg@10"],
        round(mean_popularity(ranked, events, TOP), 4),
        round(coverage(ranked, items, TOP), 4),
        round(gini(ranked, items, TOP), 4),
    )


def gini(ranked: Rows, items: int, k: int) -> float:
    """How unevenly the first k places are shared out to the items: 0 evenly, 1 all to one."""
    shown = ranked[:, :k]
    counts = np.sort(np.bincount(shown[shown >= 0], minlength=items))
    place = 2 * np.arange(1, items + 1) - items - 1
    return float((place * counts).sum() / (items * counts.sum()))


def table(points: Sequence[Point]) -> Table:
    shown = Table(title="Beauty, validation: what correction and sub-sampling do to the first ten")
    headings = ("logQ", "sub-sampling above", "recall@10", "NDCG@10", "popularity", "shown", "Gini")
    for heading in headings:
        shown.add_column(heading, justify="right")
    for point in points:
        shown.add_row(
            f"{point.strength:.2f}",
            "never" if point.threshold == 1 else f"{point.threshold:.0e}",
            f"{point.recall:.4f}",
            f"{point.ndcg:.4f}",
            f"{point.popularity:.3f}",
            f"{point.coverage:.1%}",
            f"{point.gini:.3f}",
        )
    return shown


def draw(points: Sequence[Point], file: Path) -> None:
    """Accuracy against popularity, and against how evenly items are shown; a line for each way."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Where both lines begin, the mark of one is enough.
    marked = {
        f"{LOG_Q}: share of it taken off": [
            (p, f"{p.strength:g}") for p in points if p.threshold == 1
        ],
        f"{SUBSAMPLE}: above this share": [
            (p, "" if p.threshold == 1 else f"{p.threshold:.0e}") for p in points if p.strength == 1
        ],
    }
    figure, axes = pyplot.subplots(
        2, 2, figsize=(10, 7), layout="tight", sharex="col", sharey="row"
    )
    for row, metric in enumerate(("recall", "ndcg")):
        for column, shown in enumerate(("popularity", "gini")):
            place = axes[row, column]
            styles = (("o-", 6), ("s--", -13))
            for (label, line), (style, above) in zip(marked.items(), styles, strict=True):
                x = [getattr(point, shown) for point, _ in line]
                y = [getattr(point, metric) for point, _ in line]
                place.plot(x, y, style, label=label)
                for (_, mark), *at in zip(line, x, y, strict=True):
                    place.annotate(mark, at, xytext=(4, above), textcoords="offset points")
            place.margins(0.1)
            place.grid(alpha=0.3)
    axes[0, 0].set(ylabel="recall@10")
    axes[1, 0].set(ylabel="NDCG@10", xlabel="mean popularity percentile of what is shown")
    axes[1, 1].set(xlabel="Gini of how often items are shown (0: all alike)")
    axes[0, 0].legend()
    figure.savefig(file, dpi=110)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3, help="of each training (3)")
    parser.add_argument("--only", type=int, help="so many trainings, and no picture, for a try")
    parser.add_argument("--shoppers", type=int, help="so many of them only, for a try")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the file to draw")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
