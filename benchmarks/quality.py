"""How good is the retrieval, beside the published tables?

Two academic data sets, leave-one-out, full ranking (`academic.py`). The towers that serve are
trained on everything but each shopper's last event, with settings (number of epochs among them)
that were chosen on the event before it (--validate), and judged once, at the end. Mean and standard
deviation over seeds. The published columns are of their papers; `baselines.py` fits other methods.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from academic import NAMES, SHOWN, Data, judge_scores, make_lake, read
from rich.console import Console
from rich.table import Table

from vitrina.evaluation.protocols import LeaveOneOut, leave_one_out
from vitrina.settings import TrainSettings
from vitrina.towers.objectives import objective_of
from vitrina.towers.run import user_vectors
from vitrina.towers.training import TwoTowers, Validation, build, fit

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

EPOCHS: Final = 6
CHOSEN: Final = {
    "objective": "next_item",
    "dim": 256,
    "max_history": 50,
    "blocks": 1,
    "dropout": 0.65,
    "history_dropout": 0.25,
    "id_dropout": 0.0,
    "learning_rate": 8e-3,
    "weight_decay": 0.05,
    "batch_events": 4096,
}
"""What the validation events of Beauty chose; Sports is trained with the same."""


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    console = Console()
    for name in options.data:
        with TemporaryDirectory(prefix="vitrina-bench-") as folder:
            data = read(make_lake(name, Path(folder)))
            if options.ids_only:
                bare = replace(data.catalog, attributes=[{}] * len(data.catalog))
                data = replace(data, catalog=bare)
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
    return judge_scores(lambda part: users[part] @ vectors.T, split)


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
    parser.add_argument(
        "--ids-only", action="store_true", help="without the items' categories and brands"
    )
    parser.add_argument("--set", type=json.loads, default={}, help="other settings, as JSON")
    options = parser.parse_args(arguments)
    if options.quick:
        options.data = ["Beauty"]
    return options


if __name__ == "__main__":
    main()
