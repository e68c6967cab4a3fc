"""How good is the retrieval, beside the published tables?

Two data sets in the very files that the field reports on, leave-one-out, full ranking, seen items
filtered, cold test items dropped (`vitrina.evaluation.protocols.leave_one_out`). The towers that
serve are trained on everything but each shopper's last event, with settings (number of epochs
among them) that were chosen on the event before it (--validate), and judged once, at the end.
Mean and standard deviation over seeds. The published columns are of their papers; the other
baselines are fitted here, their settings chosen on the same validation events.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vitrina.evaluation import metrics
from vitrina.evaluation.metrics import DEPTH, Rows
from vitrina.evaluation.protocols import LeaveOneOut, leave_one_out
from vitrina.lake.catalog import CatalogTable, load_catalog
from vitrina.lake.datasets.registry import dataset_named
from vitrina.lake.datasets.set_up import set_up
from vitrina.lake.ingest import ingest
from vitrina.lake.sequences import Interactions, load_interactions
from vitrina.settings import Settings, TrainSettings
from vitrina.towers.objectives import objective_of
from vitrina.towers.run import user_vectors
from vitrina.towers.training import TwoTowers, Validation, build, fit

FILES: Final = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-s3rec"
NAMES: Final = {"Beauty": "Beauty", "Sports": "Sports_and_Outdoors"}
SHOWN: Final = ("recall@10", "ndcg@10")

PUBLISHED: Final = {
    "SASRec": {"Beauty": (0.0605, 0.0318), "Sports": (0.0350, 0.0192)},
    "TIGER": {"Beauty": (0.0648, 0.0384), "Sports": (0.0400, 0.0225)},
    "ActionPiece": {"Beauty": (0.0775, 0.0424), "Sports": (0.0500, 0.0264)},
    "HSTU": {"Beauty": (0.0788, 0.0439), "Sports": (0.0437, 0.0243)},
    "FuXi-α": {"Beauty": (0.0809, 0.0451), "Sports": (0.0437, 0.0244)},
    "SASRec + sampled softmax": {"Beauty": (0.0921, 0.0531), "Sports": (0.0569, 0.0314)},
    "eSASRec": {"Beauty": (0.0928, 0.0523), "Sports": (0.0560, 0.0323)},
}
"""recall@10 and NDCG@10 as the paper of eSASRec (RecSys 2025) has them."""

EPOCHS: Final = 30
CHOSEN: Final = {
    "objective": "next_item",
    "dim": 64,
    "max_history": 50,
    "blocks": 2,
    "dropout": 0.5,
    "id_dropout": 0.0,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "batch_events": 2048,
}
"""What validation chose, for both data sets."""


@dataclass(frozen=True, slots=True)
class Data:
    interactions: Interactions
    catalog: CatalogTable
    type_weights: NDArray[np.float32]


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    console = Console()
    for name in options.data:
        with TemporaryDirectory(prefix="vitrina-bench-") as folder:
            data = load(name, Path(folder))
            figures = []
            for seed in range(options.seeds):
                started = time.perf_counter()
                chosen = CHOSEN | options.set | {"seed": seed}
                found = towers_figures(
                    data, chosen, options.epochs, options.validate, Path(folder), console.print
                )
                figures.append(found)
                seconds = time.perf_counter() - started
                console.print(f"{name}, seed {seed}: {found}, {seconds:.0f} s")
            console.print(table(name, figures))


def load(name: str, folder: Path) -> Data:
    """Ingest a data set into a lake in `folder`, and read it as training does."""
    values: dict[str, Any] = set_up(
        dataset_named("s3rec"), FILES / f"{NAMES[name]}.txt.gz", folder / "prepared"
    )
    settings = Settings.model_validate(values | {"paths": {"lake": folder / "lake"}})
    ingest(settings)
    catalog = load_catalog(settings.paths.lake)
    event_types = sorted(settings.events.weights)
    interactions = load_interactions(
        settings.paths.lake, before_us=None, item_ids=catalog.item_ids, event_types=event_types
    )
    weights = np.array([settings.events.weights[each] for each in event_types], np.float32)
    return Data(interactions, catalog, weights)


def towers_figures(
    data: Data,
    chosen: dict[str, Any],
    epochs: int,
    validate: bool,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Train on all but the last event (validate: the last two), and judge."""
    split = leave_one_out(data.interactions, len(data.catalog), hold=2 if validate else 1)
    settings = TrainSettings.model_validate(chosen | {"checkpoint_minutes": 1e6})
    per_epoch = objective_of(
        split.train, len(data.catalog), data.type_weights, settings
    ).steps_per_epoch
    settings = settings.model_copy(update={"steps": epochs * per_epoch})
    towers = build(split.train, data.catalog, settings, len(data.type_weights))
    started = time.perf_counter()

    def measure(towers: TwoTowers) -> float:
        found = judge(towers, split, settings.max_history)
        say(f"  {time.perf_counter() - started:6.0f} s  {found}")
        return found["recall@10"]

    watch = Validation(measure, every=5 * per_epoch, patience=epochs) if validate else None
    fit(
        towers,
        split.train,
        data.type_weights,
        settings,
        folder,
        identity="benchmark",
        validation=watch,
    )
    return judge(towers, split, settings.max_history)


def judge(towers: TwoTowers, split: LeaveOneOut, max_history: int) -> dict[str, float]:
    vectors = towers.item.embed_catalog()
    users = user_vectors(towers.user, vectors, split.train, split.users, max_history)
    return figures_of(lambda part: users[part] @ vectors.T, split)


def figures_of(
    scores: Callable[[slice], NDArray[np.float32]], split: LeaveOneOut
) -> dict[str, float]:
    """Means over all shoppers. scores: of some of the split's shoppers, float32 [B, items]."""
    ranked = []
    for start in range(0, len(split.users), 512):
        part = slice(start, start + 512)
        found = scores(part)
        found[split.met[part].nonzero()] = -np.inf
        ranked.append(best(found))
    accuracy = metrics.accuracy(np.concatenate(ranked), split.targets)
    return {name: round(float(accuracy[name].mean()), 5) for name in SHOWN}


def best(scores: NDArray[np.float32]) -> Rows:
    """The DEPTH best columns of each row, best first."""
    top = np.argpartition(-scores, DEPTH, axis=1)[:, :DEPTH]
    order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
    rows: Rows = np.take_along_axis(top, order, 1)
    return rows


def table(name: str, figures: Sequence[dict[str, float]]) -> Table:
    shown = Table(title=f"{name}: leave-one-out, full ranking")
    for heading in ("", *SHOWN):
        shown.add_column(heading, justify="right" if heading else "left")
    for method, published in PUBLISHED.items():
        shown.add_row(method, *(f"{value:.4f}" for value in published[name]))
    ours = [[each[metric] for each in figures] for metric in SHOWN]
    shown.add_row("Vitrina", *(f"{np.mean(each):.4f} ± {np.std(each):.4f}" for each in ours))
    return shown


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="Beauty only")
    parser.add_argument("--data", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument(
        "--validate", action="store_true", help="judge on the event before the last, as it trains"
    )
    parser.add_argument("--set", type=json.loads, default={}, help="other settings, as JSON")
    options = parser.parse_args(arguments)
    if options.quick:
        options.data = ["Beauty"]
    return options


if __name__ == "__main__":
    main()
