"""How short, and how coarse, may an item's vector be?

One model of 256 numbers is trained on Beauty (`quality.py` has split and settings), with the
Matryoshka loss: cut to 16, 32, 64 or 128 numbers, its vectors are to serve, too. Each length is
searched in float32, float16 and 8-bit integers, exactly, by FAISS, one query at a time on one
thread: recall@10 of the last events, what the catalog takes, and how long a search does. Beside
it, with --plain, a model of 256 numbers trained without regard to being cut. Training is short, and
tells targets from a sample of the items, so that lengths and precisions compare with each other and
not with `quality.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import faiss
import matplotlib
import numpy as np
import torch
from academic import Data, make_lake, read
from numpy.typing import NDArray
from quality import CHOSEN
from rich.console import Console
from rich.table import Table

from vitrina.evaluation.metrics import Rows, hits, recall_at_k
from vitrina.evaluation.protocols import LeaveOneOut, leave_one_out
from vitrina.settings import TrainSettings
from vitrina.space import normalise
from vitrina.towers.encode import user_vectors
from vitrina.towers.objectives import objective_of
from vitrina.towers.training import TrainProgress, build, fit

PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "embedding-size.png"
LENGTHS: Final = (16, 32, 64, 128, 256)
TOP: Final = 10
NEGATIVES: Final = 1024
STEPS: Final = {"batch_events": 1024, "learning_rate": 2e-3}
"""Smaller and shorter than those of `quality.py`: what the published figures were taken with."""
CANDIDATES: Final = 100
"""What a timed search asks for."""
TIMED_QUERIES: Final = 1000
PRECISIONS: Final = {
    "float32": None,
    "float16": faiss.ScalarQuantizer.QT_fp16,
    "int8": faiss.ScalarQuantizer.QT_8bit,
}
NESTED, PLAIN = "Matryoshka", "plain"


@dataclass(frozen=True, slots=True)
class Model:
    """Vectors of the catalog, float32 [items, 256], and of the shoppers, float32 [users, 256]."""

    items: NDArray[np.float32]
    users: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Point:
    """recall: @10; megabytes: of the catalog's vectors; microseconds: a search, the median."""

    model: str
    length: int
    precision: str
    recall: float
    megabytes: float
    microseconds: float


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(1)
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as folder:
        data = read(make_lake("Beauty", Path(folder)), shoppers=options.shoppers)
        split = leave_one_out(data.interactions, len(data.catalog))
        points = []
        for name in (NESTED, PLAIN) if options.plain else (NESTED,):
            model = trained(name, data, split, options.epochs, Path(folder), console)
            points += [
                measure(name, model, split, length, precision)
                for precision in (PRECISIONS if name == NESTED else ["float32"])
                for length in LENGTHS
            ]
    console.print(table(points))
    draw(points, options.picture)
    console.print(f"Drawn in {options.picture}.")


def trained(
    name: str, data: Data, split: LeaveOneOut, epochs: int, folder: Path, console: Console
) -> Model:
    """A model of the longest length, trained on all but each shopper's last event."""
    nested = list(LENGTHS[:-1]) if name == NESTED else []
    chosen = CHOSEN | STEPS | {"dim": LENGTHS[-1], "matryoshka": nested, "negatives": NEGATIVES}
    chosen |= {"checkpoint_minutes": 1e6}
    settings = TrainSettings.model_validate(chosen)
    per_epoch = objective_of(
        split.train, len(data.catalog), data.type_weights, settings
    ).steps_per_epoch
    settings = settings.model_copy(update={"steps": max(1, round(epochs * per_epoch))})
    towers = build(split.train, data.catalog, settings, len(data.type_weights))

    def say(now: TrainProgress) -> None:
        if now.step % max(1, per_epoch // 2) == 0:
            console.print(
                f"{name}: step {now.step:,} of {now.steps:,}, loss {now.loss:.3f}, "
                f"{now.seconds_left / 60:.0f} min left"
            )

    fit(towers, split.train, data.type_weights, settings, folder / name, "benchmark", say)
    items = towers.item.embed_catalog()
    users = user_vectors(towers.user, items, split.train, split.users, settings.max_history)
    return Model(items, users)


def measure(name: str, model: Model, split: LeaveOneOut, length: int, precision: str) -> Point:
    items, users = (normalise(vectors[:, :length]) for vectors in (model.items, model.users))
    index = index_of(items, precision)
    return Point(
        model=name,
        length=length,
        precision=precision,
        recall=recall(index, users, split),
        megabytes=index.sa_code_size() * len(items) / 1e6,
        microseconds=microseconds(index, users),
    )


def index_of(items: NDArray[np.float32], precision: str) -> faiss.Index:
    """All items in one list, searched exactly but for the precision of the numbers."""
    kind, length = PRECISIONS[precision], items.shape[1]
    if kind is None:
        index = faiss.IndexFlatIP(length)
    else:
        index = faiss.IndexScalarQuantizer(length, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(items)
    index.add(items)
    return index


def recall(index: faiss.Index, users: NDArray[np.float32], split: LeaveOneOut) -> float:
    """recall@10 among the items that a shopper has not met."""
    deep = min(TOP + int(np.diff(split.met.indptr).max()), split.met.shape[1])
    found = []
    for start in range(0, len(users), 512):
        part = slice(start, start + 512)
        _, rows = index.search(users[part], deep)
        met = np.asarray(split.met[part][np.arange(len(rows))[:, None], rows].todense()) > 0
        unmet_first = np.argsort(met, axis=1, kind="stable")[:, :TOP]
        found.append(np.take_along_axis(rows, unmet_first, 1))
    ranked: Rows = np.concatenate(found)
    targets = np.diff(split.targets.indptr).astype(np.int64)
    return float(recall_at_k(hits(ranked, split.targets), targets, TOP).mean())


def microseconds(index: faiss.Index, users: NDArray[np.float32]) -> float:
    """Median time of a search for CANDIDATES items, one shopper at a time."""
    taken = []
    for number in range(TIMED_QUERIES):
        query = users[number % len(users)][None]
        started = time.perf_counter()
        index.search(query, CANDIDATES)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)) * 1e6


def table(points: Sequence[Point]) -> Table:
    shown = Table(title="Beauty: recall@10 by the length and precision of the catalog's vectors")
    shown.add_column("model")
    for heading in ("length", "numbers", "recall@10", "MB", "search, µs"):
        shown.add_column(heading, justify="right")
    for point in points:
        shown.add_row(
            point.model,
            str(point.length),
            point.precision,
            f"{point.recall:.4f}",
            f"{point.megabytes:.2f}",
            f"{point.microseconds:.0f}",
        )
    return shown


def draw(points: Sequence[Point], file: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (bytes_axes, time_axes) = pyplot.subplots(
        1, 2, figsize=(10, 4), layout="tight", sharey=True
    )
    lines = dict.fromkeys((point.model, point.precision) for point in points)
    for model, precision in lines:
        line = [p for p in points if (p.model, p.precision) == (model, precision)]
        recalls = [point.recall for point in line]
        style = "o-" if model == NESTED else "s:"
        label = precision if model == NESTED else f"{precision}, trained without cuts"
        bytes_axes.semilogx([p.megabytes for p in line], recalls, style, label=label)
        time_axes.semilogx([p.microseconds for p in line], recalls, style, label=label)
        if precision == "float32":
            for point in line:
                for axes, x in ((bytes_axes, point.megabytes), (time_axes, point.microseconds)):
                    axes.annotate(
                        str(point.length),
                        (x, point.recall),
                        xytext=(0, -13),
                        textcoords="offset points",
                        ha="center",
                    )
    bytes_axes.set(xlabel="vectors of the catalog, MB", ylabel="recall@10")
    time_axes.set(xlabel=f"exact search for {CANDIDATES} items, µs")
    for axes in (bytes_axes, time_axes):
        axes.grid(alpha=0.3)
    bytes_axes.legend()
    figure.savefig(file, dpi=110)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=float, default=3, help="how many, or a share (3)")
    parser.add_argument("--plain", action="store_true", help="train the other model, too")
    parser.add_argument("--shoppers", type=int, help="so many of them only, for a try")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the file to draw")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
