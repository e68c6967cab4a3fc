"""`vitrina audit`: does anything that is known at the moment of prediction change with the future?

The lake is written again with other futures: with none, with another one, with other prices later.
Everything that features, popularity, negatives, the towers, the bundle and the recommender make of
the past is computed from each by the code that is in use, and must come out the same. A bound on
what an audit by recomputation can see is what the shop itself supplies: the catalog's columns are
looked at for what they say about the future (`columns`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from vitrina.errors import TrainingError
from vitrina.evaluation.leakage.check import Check, compared
from vitrina.evaluation.leakage.columns import check_columns, event_counts
from vitrina.evaluation.leakage.futures import Future, write_future
from vitrina.evaluation.leakage.known import (
    Known,
    draft_of,
    known_at,
    prices_at,
    towers_of,
)
from vitrina.evaluation.leakage.order import check_order
from vitrina.evaluation.leakage.trained import (
    began_with,
    check_draft,
    check_towers,
    check_weights,
    why_not_comparable,
)
from vitrina.lake.catalog import load_catalog
from vitrina.lake.split import to_datetime
from vitrina.settings import Settings
from vitrina.towers.run import TOWERS, TrainingData, load_training_data, train

SHORT_TRAINING: Final = 10
"""Steps of the trainings that are compared: whatever a step may see, it sees in the first ones."""
AGAINST: Final[dict[Future, str]] = {
    "removed": "no later events",
    "scrambled": "other later events",
    "repriced": "other later prices",
}
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. at: the moment of prediction. events_before, events_after: of the lake's
    events table. notes: what it cannot see, and what it left out."""

    at: str
    events_before: int
    events_after: int
    checks: Sequence[Check]
    notes: Sequence[str]
    seconds: float

    @property
    def leaks(self) -> list[Check]:
        """What leaks, in the order in which one thing follows from another."""
        return [check for check in self.checks if check.leaks]

    def to_json(self) -> dict[str, Any]:
        checks = [asdict(check) | {"leaks": check.leaks} for check in self.checks]
        return {**asdict(self), "checks": checks, "leaks": len(self.leaks)}


def audit(
    settings: Settings,
    *,
    at: datetime | None = None,
    retrain: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Audit the lake, the code and the trained towers for leakage from after a moment.

    at: the moment (default: the cut that [evaluate] asks for). retrain: repeat the whole training
    too, and compare every weight. progress: told what is being done and the share done. Writes
    nothing but scratch files, under `paths.runs`. Raises DataError when the lake has no events on
    both sides of the moment, TrainingError when there is too little to train on, or no training to
    repeat.
    """
    started = time.monotonic()
    say = progress or (lambda _note, _share: None)
    say("reading the lake", 0.0)
    if at is not None:
        evaluate = settings.evaluate.model_copy(update={"cut": at})
        settings = settings.model_copy(update={"evaluate": evaluate})
    data = load_training_data(settings)
    missing = why_not_comparable(settings, data)
    if missing and retrain:
        raise TrainingError(f"{missing} There is no training to repeat: run 'vitrina train' first.")
    earlier = began_with(settings.paths.runs) if not missing else ""
    if earlier and retrain:
        raise TrainingError(
            f"The training in {settings.paths.runs} began with the weights of {earlier}, and "
            "cannot be repeated without them. Train once without --warm-start to audit it."
        )
    settings.paths.runs.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".audit-", dir=settings.paths.runs) as scratch:
        worlds = _Worlds(settings, data.split.cut_us, Path(scratch))
        checks = [*_check_lake(worlds, say), *_check_order_and_columns(settings, data, say)]
        checks += _check_training(worlds, trained=not missing, retrain=retrain, say=say)
    counts = event_counts(settings.paths.lake, data.catalog.item_ids, data.split.cut_us)
    return Audit(
        at=to_datetime(data.split.cut_us).isoformat(),
        events_before=int(counts.before.sum()),
        events_after=int(counts.after.sum()),
        checks=checks,
        notes=[*_skipped(missing, earlier), *_notes(settings, data)],
        seconds=round(time.monotonic() - started, 1),
    )


class _Worlds:
    """The lake with other futures, in scratch folders, and settings that read them."""

    def __init__(self, settings: Settings, moment_us: int, scratch: Path) -> None:
        self.settings = settings
        self.moment_us = moment_us
        self.scratch = scratch

    def write(self, future: Future) -> None:
        write_future(self.settings.paths.lake, self._lake(future), self.moment_us, future)

    def reading(self, future: Future | None, runs: str = "runs", **train: int) -> Settings:
        """Settings of the lake with a future (None: as it is), with runs in a scratch folder and
        other [train] values. The index is exact: it is made of the vectors, and compared as such.
        """
        settings = self.settings
        lake = settings.paths.lake if future is None else self._lake(future)
        folder = self.scratch / f"{future or 'as-it-is'}-{runs}"
        return settings.model_copy(
            update={
                "paths": settings.paths.model_copy(update={"lake": lake, "runs": folder}),
                "evaluate": settings.evaluate.model_copy(
                    update={"cut": to_datetime(self.moment_us)}
                ),
                "index": settings.index.model_copy(update={"kind": "exact"}),
                "train": settings.train.model_copy(update=train),
            }
        )

    def _lake(self, future: Future) -> Path:
        return self.scratch / future


def _check_lake(worlds: _Worlds, say: Progress) -> Iterator[Check]:
    """What follows from the lake without training, with each of the futures."""
    say("computing what is known", 0.03)
    expected = known_at(worlds.reading(None))
    for place, future in enumerate(AGAINST):
        say(f"writing the lake with {AGAINST[future]}", 0.08 + place * 0.1)
        worlds.write(future)
        say(f"computing what is known with {AGAINST[future]}", 0.12 + place * 0.1)
        known = prices_at if future == "repriced" else known_at
        yield from _alike(known(worlds.reading(future)), expected, AGAINST[future])


def _check_order_and_columns(
    settings: Settings, data: TrainingData, say: Progress
) -> Iterator[Check]:
    say("looking at training's targets", 0.38)
    yield from check_order(data, settings)
    say("looking at the catalog's columns", 0.42)
    yield from check_columns(settings.paths.lake, data.catalog, data.split.cut_us)


def _check_training(
    worlds: _Worlds, *, trained: bool, retrain: bool, say: Progress
) -> Iterator[Check]:
    """A short training, and what follows from towers: those that are there, if they are `trained`,
    or those of the short training."""
    runs = worlds.settings.paths.runs
    steps = min(SHORT_TRAINING, worlds.settings.train.steps)
    other = AGAINST["scrambled"]
    say("a short training", 0.4)
    expected = towers_of(worlds.reading(None, "short", steps=steps))
    say(f"a short training with {other}", 0.6)
    found = towers_of(worlds.reading("scrambled", "short", steps=steps))
    yield from _alike(found, expected, other, "short training: ")
    steps = worlds.settings.train.steps if trained else steps
    if trained:
        say("checking the trained towers", 0.75)
        yield from check_towers(runs / TOWERS, worlds.reading("scrambled"), found)
        towers = runs / TOWERS
    else:
        say("exporting the towers of the short training", 0.75)
        towers = train(worlds.reading(None, "exported", steps=steps)).folder
    say("recommending", 0.8)
    expected = draft_of(worlds.reading(None, "draft", steps=steps), towers)
    say(f"recommending with {other}", 0.9)
    found = draft_of(worlds.reading("scrambled", "draft", steps=steps), towers)
    yield from _alike(found, expected, other, "serving: ")
    if trained:
        yield from check_draft(runs, found)
    if retrain:
        say("repeating the whole training", 0.95)
        yield from check_weights(towers, worlds.reading("scrambled", "whole"))


def _alike(found: Known, expected: Known, against: str, prefix: str = "") -> Iterator[Check]:
    """Whether all that was found is as expected, each number of it."""
    for subject, values in found.items():
        yield compared(
            prefix + subject,
            against,
            expected[subject],
            values,
            f"Not the same with {against}: something at or after the moment reaches it.",
        )


def _skipped(missing: str, earlier: str) -> list[str]:
    """What could not be audited, and why."""
    if missing:
        return [f"{missing} The code alone was audited, with a training of its own."]
    if earlier:
        return [
            f"The towers began with the weights of {earlier}. What those had seen is not known "
            "here: audit the training that they are of."
        ]
    return []


def _notes(settings: Settings, data: TrainingData) -> list[str]:
    """What is the newest state by design, in numbers."""
    newest = load_catalog(settings.paths.lake)
    then = data.catalog
    moved = (newest.available != then.available) | ~(
        (newest.price == then.price) | (np.isnan(newest.price) & np.isnan(then.price))
    )
    notes = [
        "Newest state, by design: titles, descriptions, categories, brands and attributes of "
        "items, and which items there are. The lake keeps the history of prices and availability "
        "alone. Numbers among the attributes were looked at; words were not."
    ]
    if moved.any():
        notes.append(
            f"{int(moved.sum()):,} of {len(then):,} items have another price or availability now "
            "than at the moment. Training uses those of the moment; a bundle shows the newest, so "
            "its lists leave out what cannot be had today."
        )
    return notes
