"""`vitrina evaluate`: a bundle against its baselines, on days that nothing of it has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.files import replace_file
from vitrina.errors import DataError
from vitrina.evaluation import metrics
from vitrina.evaluation.cold_start import NEWCOMERS, by_length
from vitrina.evaluation.methods import BASELINES, LEARNED, PIPELINE, Lists, all_methods
from vitrina.evaluation.metrics import Bootstrap, PerShopper
from vitrina.evaluation.protocols import GlobalTimeSplit, global_time
from vitrina.lake.sequences import popularity
from vitrina.lake.split import to_datetime
from vitrina.settings import Settings
from vitrina.towers.calibration import POPULARITY_HALF_LIFE_DAYS

EVALUATION: Final = "evaluation.json"
METHODS: Final = len(BASELINES) + 4
TOP: Final = 10


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim the product makes of itself. difference: paired, with its 95 % interval; the claim
    holds when the interval is above 0. apart: the two methods' own intervals do not even touch.
    """

    claim: str
    better: str
    worse: str
    metric: str
    targets: str
    difference: dict[str, float]
    holds: bool
    apart: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The table and what follows from it; see `docs/explanation/evaluation.md`.

    users: the shoppers judged, with events before the cut. users_by_length: how many of each group
    of `cold_start.LENGTHS`, by the number of those events; that of 0 is not among `users`.
    """

    bundle: str
    cut: str
    until: str
    users: int
    users_with_new: int
    users_by_length: dict[str, int]
    rows: Sequence[dict[str, Any]]
    bars: Sequence[Bar]
    failed_gates: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    settings: Settings,
    folder: Path,
    *,
    current: Bundle | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Judge the bundle in `folder` on the global-time split; writes `<runs>/evaluation.json`.

    current: the bundle now promoted; doing clearly worse than it said of itself, on the same
    split, fails a gate. progress: told each method and the share done. Raises DataError when the
    bundle has seen the test days.
    """
    bundle = load_bundle(folder)
    split = global_time(settings)
    _require_unseen(bundle, split)
    # The bundle knows what is to be had today, and filters by it; at the cut, other things were.
    bundle = bundle.stocked(split.data.catalog.price, split.data.catalog.available)
    say = progress or (lambda _method, _share: None)
    per_shopper: dict[str, dict[str, dict[str, PerShopper]]] = {}
    has_new = np.diff(split.new.indptr) > 0
    samples = settings.evaluate.bootstrap_samples
    boots = {
        "all": Bootstrap(len(split.users), samples),
        "new": Bootstrap(int(has_new.sum()), samples),
    }
    counts = popularity(
        split.data.interactions,
        len(bundle.item_ids),
        split.data.split.cut_us,
        POPULARITY_HALF_LIFE_DAYS,
    ).astype(np.float64)
    rows = []
    say("baselines", 0.0)
    for done, lists in enumerate(all_methods(split, bundle), start=1):
        per_shopper[lists.method] = {
            "all": metrics.accuracy(lists.everything, split.targets),
            "new": metrics.accuracy(lists.unmet[has_new], split.new[has_new]),
        }
        row = _row(lists, per_shopper[lists.method], boots, bundle, counts)
        row["by_length"] = figures_by_length(lists, per_shopper[lists.method]["all"], split)
        rows.append(row)
        say(lists.method, done / METHODS)
    evaluation = Evaluation(
        bundle=bundle.manifest.version,
        cut=to_datetime(split.data.split.cut_us).isoformat(),
        until=to_datetime(split.data.split.until_us).isoformat(),
        users=len(split.users),
        users_with_new=int(has_new.sum()),
        users_by_length=users_by_length(split),
        rows=rows,
        bars=_bars(per_shopper, rows, boots),
        failed_gates=failed_gates(rows, split, current),
    )
    settings.paths.runs.mkdir(parents=True, exist_ok=True)
    replace_file(settings.paths.runs / EVALUATION, orjson.dumps(evaluation.to_json()))
    return evaluation


def _require_unseen(bundle: Bundle, split: GlobalTimeSplit) -> None:
    cut = to_datetime(split.data.split.cut_us).isoformat()
    until = bundle.manifest.lineage.data_until
    if until is None or until >= cut:
        raise DataError(
            f"The bundle {bundle.manifest.version} was trained on events up to {until}, and the "
            f"test begins at {cut}: it has seen the answers. Train again with this cut."
        )
    if bundle.item_ids != split.data.catalog.item_ids:
        raise DataError(
            f"The bundle {bundle.manifest.version} holds other items than the lake. Run 'vitrina "
            f"index' to make a draft of the lake's catalog."
        )


def _row(
    lists: Lists,
    per_shopper: dict[str, dict[str, PerShopper]],
    boots: dict[str, Bootstrap],
    bundle: Bundle,
    counts: NDArray[np.float64],
) -> dict[str, Any]:
    """One method's line: accuracy with intervals, and what its discovery lists look like.

    counts float64 [items]: popularity as of the cut.
    """
    shown = lists.unmet
    return {
        "method": lists.method,
        **{name: boots[name].intervals(values) for name, values in per_shopper.items()},
        "coverage@10": metrics.coverage(shown, len(bundle.item_ids), TOP),
        "popularity@10": metrics.mean_popularity(shown, counts, TOP) if (shown >= 0).any() else 0.0,
        "diversity@10": metrics.intra_list_diversity(shown, bundle.vectors.values, TOP),
    }


def users_by_length(split: GlobalTimeSplit) -> dict[str, int]:
    """How many shoppers there are in each group by the number of events before the cut."""
    known = {name: int(which.sum()) for name, which in by_length(split.known_events).items()}
    return known | {NEWCOMERS: split.newcomers.shape[0]}


def figures_by_length(
    lists: Lists, accuracy: dict[str, PerShopper], split: GlobalTimeSplit
) -> dict[str, dict[str, float]]:
    """A method's means on all targets, in each group that there are shoppers in.

    accuracy: of the shoppers judged. Newcomers have but one list, and it is judged here.
    """
    figures = {
        name: {metric: float(values[which].mean()) for metric, values in accuracy.items()}
        for name, which in by_length(split.known_events).items()
        if which.any()
    }
    if count := split.newcomers.shape[0]:
        shown = np.broadcast_to(lists.newcomer, (count, len(lists.newcomer)))
        found = metrics.accuracy(shown, split.newcomers)
        figures = {NEWCOMERS: {name: float(each.mean()) for name, each in found.items()}} | figures
    return figures


def _bars(
    per_shopper: dict[str, dict[str, dict[str, PerShopper]]],
    rows: Sequence[dict[str, Any]],
    boots: dict[str, Bootstrap],
) -> list[Bar]:
    """The pipeline against the shopper's own habits; learned retrieval against every baseline."""
    claims = [(PIPELINE, "own most frequent", "all", name) for name in ("recall@10", "ndcg@10")]
    claims += [
        (LEARNED, baseline, "new", name)
        for name in ("recall@100", "ndcg@10")
        for baseline in BASELINES
    ]
    row_of = {row["method"]: row for row in rows}
    bars = []
    for better, worse, targets, name in claims:
        difference = boots[targets].interval(
            per_shopper[better][targets][name] - per_shopper[worse][targets][name]
        )
        ours, theirs = row_of[better][targets][name], row_of[worse][targets][name]
        bars.append(
            Bar(
                claim=f"{better} ahead of {worse}: {name} on {targets} items",
                better=better,
                worse=worse,
                metric=name,
                targets=targets,
                difference=difference,
                holds=difference["low"] > 0,
                apart=ours["low"] > theirs["high"],
            )
        )
    return bars


def failed_gates(
    rows: Sequence[dict[str, Any]], split: GlobalTimeSplit, current: Bundle | None
) -> list[str]:
    """Sentences that say why this bundle should not replace the current one."""
    if current is None or not current.metrics:
        return []
    if current.metrics.get("cut") != to_datetime(split.data.split.cut_us).isoformat():
        return []  # judged on other days: the figures do not compare
    ours = next(row for row in rows if row["method"] == PIPELINE)
    theirs = next(row for row in current.metrics["rows"] if row["method"] == PIPELINE)
    return [
        f"{name} on {targets} items of the {PIPELINE} is {ours[targets][name]['mean']:.4f}; the "
        f"current bundle has {theirs[targets][name]['mean']:.4f}, at least "
        f"{theirs[targets][name]['low']:.4f} with 95 % confidence."
        for targets, name in (("all", "recall@10"), ("new", "recall@100"))
        if ours[targets][name]["mean"] < theirs[targets][name]["low"]
    ]
