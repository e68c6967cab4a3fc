"""How fast do the towers learn, next to SASRec of RecTools?

Both are 64 wide and one block deep, see up to 50 events, and have the same threads (`academic.py`
has the data, `peers/sasrec.py` the peer). Each run is a process of its own:

    speed      seconds of an epoch, events a second, peak memory of the process: training alone,
               on everything but each shopper's last event. Events are real ones; padding does
               not count
    quality    recall@10 on the event before the last, by the same metrics, after each epoch of
               training on what is before it, against seconds of training. Judging does not count;
               the factors that our ids begin as do, for they are learnt from the same events

The peer samples 256 negatives for each position, ours ranks each target among the whole catalog.
Our step size falls to zero over all its epochs. The peer has --peer-minutes of training, which may
end before it gets no better; more of them make the comparison longer and stricter. The curves are
drawn in docs/pictures/time-to-quality.png, and what is printed at last is how much sooner ours has
the best recall that the peer came to.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from academic import NAMES, judge_lists, make_lake, read
from children import watch
from peer import SASREC, train_peer
from quality import CHOSEN, judge
from rich.console import Console
from rich.table import Table

from vitrina.evaluation.protocols import leave_one_out
from vitrina.settings import TrainSettings
from vitrina.towers.objectives import objective_of
from vitrina.towers.training import TrainProgress, TwoTowers, Validation, build, fit

OURS: Final = CHOSEN | {"dim": 64, "blocks": 1, "dropout": 0.5}
METRIC: Final = "recall@10"
PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "time-to-quality.png"
TEST, VALIDATION = 1, 2
"""Events that are cut off each sequence."""


@dataclass(frozen=True, slots=True)
class Point:
    """An epoch of training. seconds: since its start. events: of an epoch, without padding.

    recall: what validation found after it, None where nobody asked.
    """

    epoch: int
    seconds: float
    events: int
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Training:
    points: list[Point]
    peak_gb: float

    @property
    def epoch_seconds(self) -> float:
        return self.points[-1].seconds / self.points[-1].epoch

    @property
    def events_per_second(self) -> float:
        return self.points[-1].events / self.epoch_seconds


def main() -> None:
    options = parse_options()
    if options.child:
        train_ours(options)
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of the children: both learn on the same cores
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as name:
        folder = Path(name)
        lake = make_lake(options.data, folder)
        if "speed" in options.parts:
            ours = our_training(lake, options, TEST, options.speed_epochs)
            peer = peer_training(lake, options, TEST, {"epochs": options.speed_epochs})
            console.print(table(options, ours, peer))
        if "quality" in options.parts:
            ours = our_training(lake, options, VALIDATION, options.epochs)
            limits = {"epochs": options.peer_epochs, "minutes": options.peer_minutes, "every": 1}
            peer = peer_training(lake, options, VALIDATION, limits)
            console.print(curves(ours, peer))
            console.print(comparison(ours, peer))
            if options.shoppers is None:
                draw(options.data, ours, peer)
                console.print(f"Written: {PICTURE}")


def our_training(lake: Path, options: argparse.Namespace, hold: int, epochs: int) -> Training:
    command = [sys.executable, __file__, "--child", str(lake), "--hold", str(hold)]
    command += ["--epochs", str(epochs), "--threads", str(options.threads)]
    if options.shoppers is not None:
        command += ["--shoppers", str(options.shoppers)]
    found = watch(command)
    return Training([Point(**json.loads(line)) for line in found.lines], found.peak_gb)


def train_ours(options: argparse.Namespace) -> None:
    """Train the towers in this process, and print a line of JSON for each epoch.

    With the validation event held out, it is judged after each epoch.
    """
    torch.set_num_threads(options.threads)
    data = read(options.child, shoppers=options.shoppers)
    split = leave_one_out(data.interactions, len(data.catalog), hold=options.hold)
    settings = TrainSettings.model_validate(OURS | {"checkpoint_minutes": 1e6})
    objective = objective_of(split.train, len(data.catalog), data.type_weights, settings)
    per_epoch = objective.steps_per_epoch
    settings = settings.model_copy(update={"steps": options.epochs * per_epoch})
    del objective
    started, judging = time.perf_counter(), 0.0
    towers = build(split.train, data.catalog, settings, len(data.type_weights))
    if options.hold == TEST:  # an epoch is timed, and not what comes before the first
        started = time.perf_counter()

    def measure(towers: TwoTowers) -> float:
        nonlocal judging
        began = time.perf_counter()
        found = judge(towers, split, settings.max_history)
        judging += time.perf_counter() - began
        return found[METRIC]

    def epoch_over(progress: TrainProgress) -> None:
        epoch, left = divmod(progress.step, per_epoch)
        if left == 0:
            seconds = time.perf_counter() - started - judging
            point = {"epoch": epoch, "seconds": seconds, "events": len(split.train)}
            print(json.dumps(point | {"recall": progress.metric}), flush=True)

    validation = Validation(measure, every=per_epoch, patience=options.epochs)
    with TemporaryDirectory(prefix="vitrina-bench-") as folder:
        fit(
            towers,
            split.train,
            data.type_weights,
            settings,
            Path(folder),
            identity="benchmark",
            progress=epoch_over,
            validation=validation if options.hold == VALIDATION else None,
        )


def peer_training(
    lake: Path, options: argparse.Namespace, hold: int, limits: dict[str, Any]
) -> Training:
    data = read(lake, shoppers=options.shoppers)
    split = leave_one_out(data.interactions, len(data.catalog), hold=hold)
    settings = SASREC | limits | {"threads": options.threads}
    run = train_peer(split, settings, lake.parent / "peer")
    lists = run.lists()
    points = [
        Point(
            each.epoch,
            each.seconds,
            each.events,
            judge_lists(lists[each.epoch], split)[METRIC] if each.epoch in lists else None,
        )
        for each in run.epochs
    ]
    return Training(points, run.peak_gb)


def table(options: argparse.Namespace, ours: Training, peer: Training) -> Table:
    shown = Table(title=f"{options.data}, {options.threads} threads: an epoch of training")
    for heading in ("", "seconds", "events/s", "x peer", "peak GB", "x peer"):
        shown.add_column(heading, justify="right" if heading else "left")
    for label, each in (("SASRec, RecTools", peer), ("Vitrina", ours)):
        shown.add_row(
            label,
            f"{each.epoch_seconds:.1f}",
            f"{each.events_per_second:,.0f}",
            f"{each.events_per_second / peer.events_per_second:.1f}",
            f"{each.peak_gb:.2f}",
            f"{each.peak_gb / peer.peak_gb:.2f}",
        )
    return shown


def curves(ours: Training, peer: Training) -> Table:
    shown = Table(title=f"validation {METRIC} by seconds of training")
    for heading in ("", "epoch", "seconds", METRIC):
        shown.add_column(heading, justify="right" if heading else "left")
    for label, each in (("SASRec, RecTools", peer), ("Vitrina", ours)):
        for point in each.points:
            shown.add_row(label, str(point.epoch), f"{point.seconds:.1f}", f"{point.recall:.4f}")
    return shown


def comparison(ours: Training, peer: Training) -> str:
    """How much sooner ours has the best recall of the peer."""
    best = max(peer.points, key=lambda point: point.recall or 0.0)
    there = reached(ours, best.recall or 0.0)
    said = f"SASRec came to {METRIC} {best.recall:.4f} in {best.seconds:.0f} s"
    if there is None:
        return f"{said}, which Vitrina did not reach in {ours.points[-1].seconds:.0f} s."
    return (
        f"{said} ({best.epoch} epochs); Vitrina had {there.recall:.4f} after {there.seconds:.0f} s "
        f"({there.epoch} epochs): {best.seconds / there.seconds:.0f} times sooner."
    )


def reached(training: Training, recall: float) -> Point | None:
    """The first epoch after which validation found so much."""
    return next((each for each in training.points if (each.recall or 0.0) >= recall), None)


def draw(data: str, ours: Training, peer: Training) -> None:
    # Here, so that it is not in the memory of the child that trains.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="tight")
    for label, training, style in (("Vitrina", ours, "o-"), ("SASRec, RecTools", peer, "s-")):
        seconds = [point.seconds for point in training.points]
        recalls = [point.recall for point in training.points]
        axes.semilogx(seconds, recalls, style, label=f"{label}: {len(seconds)} epochs")
    axes.set(
        title=f"{data}, 64 wide, one block",
        xlabel="seconds of training",
        ylabel=f"validation {METRIC}",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PICTURE, dpi=110)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["speed", "quality"], help="speed quality")
    parser.add_argument("--data", choices=NAMES, default="Beauty")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for both (2)")
    parser.add_argument("--speed-epochs", type=int, default=2, help="timed for the speed (2)")
    parser.add_argument("--epochs", type=int, default=8, help="ours, for the quality (8)")
    parser.add_argument("--peer-epochs", type=int, default=200, help="at most (200)")
    parser.add_argument("--peer-minutes", type=float, default=15, help="of training (15)")
    parser.add_argument("--shoppers", type=int, help="only the first ones, to try it out")
    parser.add_argument("--child", type=Path, metavar="LAKE", help=argparse.SUPPRESS)
    parser.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
