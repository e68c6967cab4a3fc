"""What do well-known methods reach where the towers are measured?

Leave-one-out on two academic data sets (`academic.py`). Each method has the settings that find
most on the event before the last, from a small grid: one setting after the other, the others at
the best so far, beginning with the first value of each. It is then fitted on everything but the
last event and judged once. There is no recent popularity: these data have no moments.

--peers MINUTES also trains SASRec and eSASRec of RecTools, in an environment of their own
(`make peers`) and with the settings of the eSASRec paper for these data, for so many minutes each;
validation chooses the number of epochs, and so many train the one that is judged. Their histories
end after 20 events instead of 50, which 4 shoppers of 100 reach: an epoch takes half the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from academic import NAMES, SHOWN, Data, judge_lists, judge_scores, make_lake, read
from numpy.typing import NDArray
from peer import SASREC, train_peer
from rich.console import Console
from rich.table import Table

from vitrina.evaluation.protocols import LeaveOneOut, leave_one_out
from vitrina.lake.sequences import Interactions
from vitrina.towers.baselines import Baseline, EaseScores, ImplicitALS, ItemKNN
from vitrina.towers.factors import HEAD_ITEMS

CHOOSE_BY: Final = "recall@10"
ALL_ITEMS: Final = 20_000
"""More than either catalog has."""
PEERS: Final = ("SASRec", "eSASRec")
PEER_LENGTH: Final = 20
EXPANSION: Final = {"Beauty": 4, "Sports": 2}
"""Of LiGR's feed-forward part, in the published settings of eSASRec."""
EPOCHS_BETWEEN_LISTS: Final = 2


class Popularity:
    """The number of events, the same list for everybody."""

    def __init__(self, interactions: Interactions, items: int) -> None:
        self._counts = np.bincount(interactions.row, minlength=items).astype(np.float32)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.tile(self._counts, (len(users), 1))


@dataclass(frozen=True, slots=True)
class Method:
    """grid: the values of each setting, in the order in which the settings are chosen."""

    name: str
    fit: Callable[..., Baseline]
    grid: dict[str, tuple[float, ...]]


METHODS: Final = (
    Method("popularity", Popularity, {}),
    Method("item-kNN", ItemKNN, {"neighbours": (50, 100, 300, 1000)}),
    Method(
        "iALS",
        ImplicitALS,
        {"factors": (256, 128, 512), "alpha": (20, 5, 50, 100), "regularization": (10, 3, 30)},
    ),
    Method(
        "EASE",
        EaseScores,
        {"head_items": (ALL_ITEMS, HEAD_ITEMS), "ridge": (100, 10, 30, 300, 1000)},
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the table. seconds: the fit of what was judged."""

    method: str
    figures: dict[str, float]
    settings: str
    seconds: float


def main() -> None:
    options = parse_options()
    console = Console()
    for name in options.data:
        with TemporaryDirectory(prefix="vitrina-bench-") as folder:
            data = read(make_lake(name, Path(folder)), shoppers=options.shoppers)
            results = []
            for result in measure(name, data, options, Path(folder), console.print):
                results.append(result)
                console.print(f"{name}, {result.method}: {result.figures}")
            console.print(table(name, results))


def measure(
    name: str,
    data: Data,
    options: argparse.Namespace,
    folder: Path,
    say: Callable[[str], None],
) -> Iterator[Result]:
    items = len(data.catalog)
    validation = leave_one_out(data.interactions, items, hold=2)
    test = leave_one_out(data.interactions, items)
    for method in METHODS:
        if method.name in options.methods:
            yield tuned(method, validation, test, items, say)
    for label in PEERS:
        if options.peers and label in options.methods:
            peer = SASREC | {"length": PEER_LENGTH, "threads": options.threads}
            if label == "eSASRec":
                peer |= {"layers": "ligr", "expansion": EXPANSION[name]}
            yield peer_result(label, peer, options.peers, validation, test, folder, say)


def tuned(
    method: Method,
    validation: LeaveOneOut,
    test: LeaveOneOut,
    items: int,
    say: Callable[[str], None],
) -> Result:
    """Choose the settings on validation, fit again for the test, and judge."""
    known: dict[tuple[float, ...], float] = {}

    def value(settings: dict[str, float]) -> float:
        key = tuple(settings.values())
        if key not in known:
            fitted = method.fit(validation.train, items, **settings)
            known[key] = judge(fitted, validation)[CHOOSE_BY]
            say(f"  {method.name} {settings}: validation {CHOOSE_BY} {known[key]:.4f}")
        return known[key]

    chosen = {name: values[0] for name, values in method.grid.items()}
    for name, values in method.grid.items():
        chosen[name] = max(values, key=lambda each: value(chosen | {name: each}))
    started = time.perf_counter()
    fitted = method.fit(test.train, items, **chosen)
    seconds = time.perf_counter() - started
    settings = ", ".join(f"{name} {each:g}" for name, each in chosen.items())
    return Result(method.name, judge(fitted, test), settings, seconds)


def judge(fitted: Baseline, split: LeaveOneOut) -> dict[str, float]:
    """Means over all shoppers; what is scored 0 or less is not recommended."""

    def scores(part: slice) -> NDArray[np.float32]:
        found = fitted.scores(split.users[part])
        found[found <= 0] = -np.inf
        return found

    return judge_scores(scores, split)


def peer_result(
    label: str,
    settings: dict[str, Any],
    minutes: float,
    validation: LeaveOneOut,
    test: LeaveOneOut,
    folder: Path,
    say: Callable[[str], None],
) -> Result:
    """Train for some minutes, then again for as many epochs as were best, and judge."""

    def heard(line: str) -> None:
        say(f"  {label}: {line}")

    limited = settings | {"minutes": minutes, "every": EPOCHS_BETWEEN_LISTS}
    run = train_peer(validation, limited, folder / label, heard)
    found = {
        epoch: judge_lists(ranked, validation)[CHOOSE_BY] for epoch, ranked in run.lists().items()
    }
    epochs = max(found, key=lambda epoch: found[epoch])
    say(f"  {label}: validation {CHOOSE_BY} {found[epochs]:.4f} after {epochs} epochs")
    final = train_peer(test, settings | {"epochs": epochs, "every": epochs}, folder / label, heard)
    judged = judge_lists(final.lists()[epochs], test)
    shown = f"{epochs} of {max(found)} epochs"
    return Result(f"{label} (RecTools)", judged, shown, final.epochs[-1].seconds)


def table(name: str, results: Sequence[Result]) -> Table:
    shown = Table(title=f"{name}: leave-one-out, full ranking")
    for heading in ("", *SHOWN, "chosen on validation", "fit, s"):
        shown.add_column(heading, justify="right" if heading in SHOWN else "left")
    for each in results:
        figures = [f"{each.figures[metric]:.4f}" for metric in SHOWN]
        shown.add_row(each.method, *figures, each.settings, f"{each.seconds:.1f}")
    return shown


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=NAMES, default=list(NAMES))
    methods = [*(each.name for each in METHODS), *PEERS]
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--peers", type=float, metavar="MINUTES", help="SASRec and eSASRec, too")
    parser.add_argument("--threads", type=int, default=2, help="of the peers (2)")
    parser.add_argument("--shoppers", type=int, help="only the first ones, to try it out")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
