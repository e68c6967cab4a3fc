"""What becomes of items that nobody has met, and of shoppers hardly known?

Amazon "Industrial and Scientific" with its real titles, descriptions and brands: a fifth of the
items is held out of training altogether, and each is to be found among all items when a shopper
first turns to it (`vitrina.evaluation.cold_start.cold_items`). One fifth after the other is held
out, so that every item is asked for: a shopper of whom nothing is known gets one list like all the
others, and how well it does on one fifth hangs on the ten new items in it. Recall@50 of the towers,
mean and standard deviation over seeds, beside popularity, chance, and the nearest texts. The
settings of all were chosen with --validate: on the second fifth, while the first was held out, too.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import torch
from academic import Data, best, read
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vitrina.evaluation import metrics
from vitrina.evaluation.cold_start import FOLDS, ColdItems, by_length, cold_items
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.ingest import ingest
from vitrina.settings import Settings, TrainSettings
from vitrina.towers.encode import user_vectors
from vitrina.towers.newcomers import newcomer_vector
from vitrina.towers.objectives import objective_of
from vitrina.towers.training import TwoTowers, Validation, build, fit

FILES: Final = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-industrial"
LAST_DAY: Final = date(2018, 10, 1)
TOP: Final = 50
TEST_FOLD, VALIDATION_FOLD = 0, 1
TARGETS_AT_ONCE: Final = 512
RESAMPLES: Final = 2000

CHOSEN: Final[dict[str, Any]] = {
    "objective": "next_item",
    "dim": 64,
    "max_history": 50,
    "dropout": 0.3,
    "id_dropout": 0.3,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "batch_events": 512,
    "validation_every": 0,
}
EPOCHS: Final = 10
CHOSEN_TEXT: Final = {"decay": 0.5, "pairs": False, "description": False}
TEXT_GRID: Final = {"decay": (0.5, 0.8, 1.0), "pairs": (False, True), "description": (False, True)}
"""Of the nearest texts: what the event before counts beside the newest; whether pairs of words
count like words; and whether descriptions are read beside titles and brands."""

Scores = Callable[[slice], NDArray[np.float32]]
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judged:
    """Of each target: found bool [T], whether it was among the first 50; item int64 [T]; known
    int64 [T], how many events the shopper was known by; fold int64 [T], the fifth it was in."""

    found: NDArray[np.bool_]
    item: NDArray[np.int64]
    known: NDArray[np.int64]
    fold: NDArray[np.int64]

    def figures(self) -> dict[str, float]:
        """recall@50 in all, of each group by length of history, and of each fifth."""
        return {
            name: round(float(self.found[which].mean()), 5) for name, which in self.groups().items()
        }

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Which targets are in each line of the table; lines without any are left out."""
        groups = {"all": np.ones(len(self.found), np.bool_), **by_length(self.known)}
        fifths = np.unique(self.fold)
        if len(fifths) > 1:
            groups |= {f"fifth {fold + 1}": self.fold == fold for fold in fifths}
        return {name: which for name, which in groups.items() if which.any()}


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as folder:
        data = read(make_lake(Path(folder)))
        splits = splits_of(data, options)
        if options.validate:
            for values in product(*TEXT_GRID.values()):
                chosen = dict(zip(TEXT_GRID, values, strict=True))
                found = judge(splits, [nearest_texts(data.catalog, s, **chosen) for s in splits])
                console.print(chosen, found.figures())
        columns = {
            "chance": [
                judge(splits, [chance(split, seed) for split in splits])
                for seed in range(options.seeds)
            ],
            "popularity": [judge(splits, [popularity(split) for split in splits])],
            "nearest texts": [
                judge(splits, [nearest_texts(data.catalog, s, **CHOSEN_TEXT) for s in splits])
            ],
            "Vitrina": [],
        }
        for seed in range(options.seeds):
            chosen = CHOSEN | options.set | {"seed": seed}
            scores = [trained(data, split, chosen, options, console) for split in splits]
            columns["Vitrina"].append(judge(splits, scores))
            console.print(f"seed {seed}: {columns['Vitrina'][-1].figures()}")
        console.print(table(columns))
        console.print(verdict(columns["Vitrina"], columns["nearest texts"][0]))


def splits_of(data: Data, options: argparse.Namespace) -> list[ColdItems]:
    """One fifth after the other held out; to choose settings, one within what the first leaves."""
    items = len(data.catalog)
    if options.validate:
        rest = cold_items(data.interactions, items, fold=TEST_FOLD).train
        return [cold_items(rest, items, fold=VALIDATION_FOLD)]
    return [cold_items(data.interactions, items, fold=fold) for fold in range(options.folds)]


def make_lake(folder: Path) -> Path:
    """Ingest the data set into a lake in `folder`. Ends the program where its files are not."""
    items, sequences = FILES / "items.jsonl.gz", FILES / "sequences.txt.gz"
    if not (items.exists() and sequences.exists()):
        raise SystemExit(f"There is no {items} with {sequences.name} beside it.")
    events = folder / "events.csv"
    with gzip.open(sequences, "rt") as lines, events.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "event_type", "timestamp"])
        for line in lines:
            user_id, *item_ids = line.split()
            for age, item_id in enumerate(reversed(item_ids)):
                writer.writerow([user_id, item_id, "purchase", LAST_DAY - timedelta(days=age)])
    lake = folder / "lake"
    sources = {"items": [{"files": str(items)}], "events": [{"files": str(events)}]}
    ingest(Settings.model_validate({"paths": {"lake": lake}, "lake": sources}))
    return lake


def judge(splits: Sequence[ColdItems], scores: Sequence[Scores]) -> Judged:
    """A method's scores, of each split, against the targets of all of them."""
    columns: list[tuple[NDArray[Any], ...]] = []
    for fold, (split, scored) in enumerate(zip(splits, scores, strict=True)):
        ranked, targets = [], split.targets.shape[0]
        for start in range(0, targets, TARGETS_AT_ONCE):
            part = slice(start, min(start + TARGETS_AT_ONCE, targets))
            found = scored(part)
            found[split.met[part].nonzero()] = -np.inf
            ranked.append(best(found))
        hit = metrics.hits(np.concatenate(ranked), split.targets)
        recall = metrics.recall_at_k(hit, np.ones(targets, np.int64), TOP)
        columns.append(
            (recall > 0, split.targets.indices, lengths_of(split), np.full(targets, fold))
        )
    return Judged(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def lengths_of(split: ColdItems) -> NDArray[np.int64]:
    return np.bincount(split.histories.user, minlength=split.targets.shape[0])


def chance(split: ColdItems, seed: int) -> Scores:
    rng, items = np.random.default_rng(seed), split.targets.shape[1]
    return lambda part: rng.random((part.stop - part.start, items), np.float32)


def popularity(split: ColdItems) -> Scores:
    """The number of events, in which a held-out item has none; the like of them by chance."""
    items = split.targets.shape[1]
    counts = np.bincount(split.train.row, minlength=items).astype(np.float32)
    counts += np.random.default_rng(0).random(items, np.float32) / 2
    return lambda part: np.tile(counts, (part.stop - part.start, 1))


def nearest_texts(
    catalog: CatalogTable, split: ColdItems, *, decay: float, pairs: bool, description: bool
) -> Scores:
    """Cosine of an item's text to the mean of the history's, TF-IDF; newer events count for more.

    Where there is no history, to the mean of all that is bought.
    """
    texts = [
        f"{title} {brand or ''} {title} {text if description else ''}"
        for title, brand, text in zip(
            catalog.title, catalog.brand, catalog.description, strict=True
        )
    ]
    words = tf_idf(texts, pairs=pairs)
    events, targets = split.histories, split.targets.shape[0]
    lengths = lengths_of(split)
    age = np.cumsum(lengths)[events.user] - 1 - np.arange(len(events))
    history = sp.csr_matrix((decay**age, (events.user, events.row)), split.targets.shape)
    everybody = sp.csr_matrix(np.bincount(split.train.row, minlength=len(catalog)))
    queries = sp.vstack([history, everybody]).tocsr() @ words
    which = np.where(lengths > 0, np.arange(targets), targets)
    items = words.T.tocsr()
    return lambda part: (queries[which[part]] @ items).toarray().astype(np.float32)


def tf_idf(texts: Sequence[str], *, pairs: bool) -> sp.csr_matrix:
    """(1 + ln count) · (1 + ln((1 + n) / (1 + texts with it))) of words that texts share, and of
    pairs of neighbours if asked for; rows of length 1."""
    counts, code = [], {}
    for text in texts:
        words = re.findall(r"[^\W_]+", text.lower())
        grams = [*words, *pairwise(words)] if pairs else words
        counts.append(Counter(code.setdefault(gram, len(code)) for gram in grams))
    offsets = np.cumsum([0, *map(len, counts)])
    codes = np.array([gram for row in counts for gram in row])
    count = np.array([number for row in counts for number in row.values()])
    spread = np.bincount(codes)
    rarity = np.where(spread > 1, 1 + np.log((1 + len(texts)) / (1 + spread)), 0)
    weights = sp.csr_matrix(((1 + np.log(count)) * rarity[codes], codes, offsets))
    length = np.sqrt(weights.multiply(weights).sum(axis=1)).A1
    return sp.csr_matrix(sp.diags_array(1 / np.maximum(length, 1e-9)) @ weights)


def trained(
    data: Data,
    split: ColdItems,
    chosen: dict[str, Any],
    options: argparse.Namespace,
    console: Console,
) -> Scores:
    """The scores of towers that are trained for it."""
    settings = TrainSettings.model_validate(chosen | {"checkpoint_minutes": 1e6})
    per_epoch = objective_of(
        split.train, len(data.catalog), data.type_weights, settings
    ).steps_per_epoch
    settings = settings.model_copy(update={"steps": options.epochs * per_epoch})
    towers = build(split.train, data.catalog, settings, len(data.type_weights))

    def measure(towers: TwoTowers) -> float:
        found = judge([split], [learned(towers, split, settings.max_history)]).figures()
        console.print(found)
        return found["all"]

    watch = Validation(measure, every=2 * per_epoch, patience=options.epochs)
    with TemporaryDirectory(prefix="vitrina-bench-") as folder:
        fit(
            towers,
            split.train,
            data.type_weights,
            settings,
            Path(folder),
            identity=f"benchmark, seed {settings.seed}",
            validation=watch if options.validate else None,
        )
    return learned(towers, split, settings.max_history)


def learned(towers: TwoTowers, split: ColdItems, max_history: int) -> Scores:
    """The towers as they serve: without a history, by the vector of newcomers."""
    vectors = towers.item.embed_catalog()
    end = int(split.train.timestamp_us.max()) + 1
    newcomer = newcomer_vector(split.train, vectors, end)
    queries = np.tile(newcomer, (split.targets.shape[0], 1))
    users = np.unique(split.histories.user).astype(np.int64)
    queries[users] = user_vectors(towers.user, vectors, split.histories, users, max_history)
    return lambda part: queries[part] @ vectors.T


def table(columns: Mapping[str, Sequence[Judged]]) -> Table:
    """A line a group: how many targets, and each method's mean over seeds ± standard deviation."""
    shown = Table(title="recall@50 of items that nobody has met, among all, by events known")
    for name in ("events", "targets", *columns):
        shown.add_column(name, justify="right")
    figures = {name: [each.figures() for each in judged] for name, judged in columns.items()}
    for group, which in columns["chance"][0].groups().items():
        cells = [[found[group] for found in each] for each in figures.values()]
        shown.add_row(
            group,
            f"{int(which.sum()):,}",
            *(
                f"{np.mean(each):.4f}" + (f" ± {np.std(each):.4f}" if len(each) > 1 else "")
                for each in cells
            ),
        )
    return shown


def verdict(ours: Sequence[Judged], theirs: Judged) -> str:
    """The difference in all and where there is a history, with its 95 % bootstrap interval.

    Items are resampled, with all of their targets: which items are new is what chance decides.
    """
    won = np.mean([each.found for each in ours], axis=0) - theirs.found
    drawn = np.random.default_rng(0)
    lines = []
    for name, which in {"all": theirs.known >= 0, "some history": theirs.known > 0}.items():
        sums = np.bincount(theirs.item[which], won[which])
        counts = np.bincount(theirs.item[which])
        sums, counts = sums[counts > 0], counts[counts > 0]
        weights = drawn.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
        low, high = np.percentile((weights @ sums) / (weights @ counts), [2.5, 97.5])
        lines.append(
            f"Vitrina − nearest texts, {name}: {won[which].mean():+.4f} ({low:+.4f} … {high:+.4f})"
        )
    return "\n".join(lines)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--folds", type=int, default=FOLDS, help="fifths held out (5)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument(
        "--validate", action="store_true", help="judge on another fifth of the items, as it trains"
    )
    parser.add_argument("--set", type=json.loads, default={}, help="other settings, as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
