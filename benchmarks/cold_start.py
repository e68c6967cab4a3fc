"""What becomes of items that nobody has met, and of shoppers hardly known?

Amazon "Industrial and Scientific" with its real titles, descriptions and brands: a fifth of the
items is held out of training altogether, and each is to be found among all items when a shopper
first turns to it (`vitrina.evaluation.cold_start.cold_items`). Recall@50 of the towers, mean and
standard deviation over seeds, beside popularity, chance, and the nearest texts. The settings of
all were chosen on another fifth (--validate), while the items tested on were held out as well.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from vitrina.evaluation.cold_start import ColdItems, by_length, cold_items
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.ingest import ingest
from vitrina.lake.sequences import Interactions
from vitrina.settings import Settings, TrainSettings
from vitrina.towers.encode import user_vectors
from vitrina.towers.objectives import objective_of
from vitrina.towers.training import TwoTowers, Validation, build, fit

FILES: Final = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-industrial"
LAST_DAY: Final = date(2018, 10, 1)
TOP: Final = 50
TEST_FOLD, VALIDATION_FOLD = 0, 1
TARGETS_AT_ONCE: Final = 512

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


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as folder:
        data = read(make_lake(Path(folder)))
        split = cold_items(data.interactions, len(data.catalog), fold=TEST_FOLD)
        if options.validate:
            split = cold_items(split.train, len(data.catalog), fold=VALIDATION_FOLD)
            for values in product(*TEXT_GRID.values()):
                chosen = dict(zip(TEXT_GRID, values, strict=True))
                console.print(chosen, judge(nearest_texts(data.catalog, split, **chosen), split))
        columns = {
            "chance": [judge(chance(split, seed), split) for seed in range(options.seeds)],
            "popularity": [judge(popularity(split), split)],
            "nearest texts": [judge(nearest_texts(data.catalog, split, **CHOSEN_TEXT), split)],
            "Vitrina": [],
        }
        for seed in range(options.seeds):
            chosen = CHOSEN | options.set | {"seed": seed}
            found = towers_figures(data, split, chosen, options, Path(folder), console)
            columns["Vitrina"].append(found)
            console.print(f"seed {seed}: {found}")
        console.print(table(columns, split))


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


def judge(scores: Scores, split: ColdItems) -> dict[str, float]:
    """recall@50 of all targets, and of those in each group by length of history."""
    ranked, targets = [], split.targets.shape[0]
    for start in range(0, targets, TARGETS_AT_ONCE):
        part = slice(start, min(start + TARGETS_AT_ONCE, targets))
        found = scores(part)
        found[split.met[part].nonzero()] = -np.inf
        ranked.append(best(found))
    hit = metrics.hits(np.concatenate(ranked), split.targets)
    recall = metrics.recall_at_k(hit, np.ones(targets, np.int64), TOP)
    groups = {"all": np.ones(targets, np.bool_), **by_length(lengths_of(split))}
    return {name: round(float(recall[which].mean()), 5) for name, which in groups.items()}


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


def towers_figures(
    data: Data,
    split: ColdItems,
    chosen: dict[str, Any],
    options: argparse.Namespace,
    folder: Path,
    console: Console,
) -> dict[str, float]:
    settings = TrainSettings.model_validate(chosen | {"checkpoint_minutes": 1e6})
    per_epoch = objective_of(
        split.train, len(data.catalog), data.type_weights, settings
    ).steps_per_epoch
    settings = settings.model_copy(update={"steps": options.epochs * per_epoch})
    towers = build(split.train, data.catalog, settings, len(data.type_weights))

    def measure(towers: TwoTowers) -> float:
        found = judge(learned(towers, split, settings.max_history), split)
        console.print(found)
        return found["all"]

    watch = Validation(measure, every=2 * per_epoch, patience=options.epochs)
    fit(
        towers,
        split.train,
        data.type_weights,
        settings,
        folder,
        identity=f"benchmark, seed {settings.seed}",
        validation=watch if options.validate else None,
    )
    return judge(learned(towers, split, settings.max_history), split)


def learned(towers: TwoTowers, split: ColdItems, max_history: int) -> Scores:
    """The towers as they serve: without a history, the mean of all shoppers' vectors."""
    vectors = towers.item.embed_catalog()

    def encoded(interactions: Interactions) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        users = np.unique(interactions.user).astype(np.int64)
        return user_vectors(towers.user, vectors, interactions, users, max_history), users

    everybody, _ = encoded(split.train)
    queries = np.tile(everybody.mean(0), (split.targets.shape[0], 1))
    known, users = encoded(split.histories)
    queries[users] = known
    return lambda part: queries[part] @ vectors.T


def table(columns: Mapping[str, Sequence[Figures]], split: ColdItems) -> Table:
    """A line a group: how many targets, and each method's mean over seeds ± standard deviation."""
    shown = Table(title="recall@50 of items that nobody has met, among all, by events known")
    for name in ("events", "targets", *columns):
        shown.add_column(name, justify="right")
    lengths = lengths_of(split)
    sizes = {"all": len(lengths)} | {k: int(v.sum()) for k, v in by_length(lengths).items()}
    for group, size in sizes.items():
        cells = [[found[group] for found in figures] for figures in columns.values()]
        shown.add_row(
            group, f"{size:,}", *(f"{np.mean(each):.4f} ± {np.std(each):.4f}" for each in cells)
        )
    return shown


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument(
        "--validate", action="store_true", help="judge on another fifth of the items, as it trains"
    )
    parser.add_argument("--set", type=json.loads, default={}, help="other settings, as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
