"""The model card: what a training run made, of what and how well, as it was measured then.

After Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019): the run itself writes it, so
that no number in it is from anywhere else.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from vitrina import __version__
from vitrina.bundle import bundle as layout
from vitrina.lake.sequences import Interactions
from vitrina.lake.split import to_datetime
from vitrina.settings import TrainSettings
from vitrina.towers import ranks
from vitrina.towers.device import training_device
from vitrina.towers.moments import HORIZON_DAYS, MIN_EVENTS, US_PER_DAY
from vitrina.towers.training import TwoTowers
from vitrina.towers.validation import LEAST_SHOPPERS, HeldOut, steps_between

if TYPE_CHECKING:
    from vitrina.towers.run import TrainingData, TrainReport

LIBRARIES: Final = ("torch", "numpy", "scipy", "onnxruntime")
YEAR_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Run:
    """All that a card tells of. tables: name of the lake's set. held: what validation asked for."""

    settings: TrainSettings
    tables: str
    data: TrainingData
    held: HeldOut | None
    towers: TwoTowers
    report: TrainReport


def model_card(run: Run) -> str:
    """The card, Markdown. `vitrina publish` adds the evaluation at its end."""
    sections = [
        ("What was trained", _trained(run)),
        ("On what", _data(run)),
        ("How", _how(run)),
        ("How well", _quality(run)),
        ("Intended use", _use(run)),
        ("Limits that follow from the data", _limits(run)),
        ("What of shoppers is in it", _privacy(run)),
    ]
    text = [
        "# Model card",
        "",
        f"Written by Vitrina {__version__} at the end of the training it describes; every number "
        "was measured there.",
    ]
    for title, lines in sections:
        text += ["", f"## {title}", "", *lines]
    return "\n".join([*text, ""])


def _trained(run: Run) -> list[str]:
    settings, item, user = run.settings, run.towers.item, run.towers.user
    encoder = (
        f"causal transformer, blocks: {settings.blocks}"
        if settings.encoder == "transformer"
        else "MLP over averages of the history"
    )
    learnt = isinstance(item.id_table, torch.nn.Parameter)
    ids = "learnt with the towers" if learnt else "collaborative factors (EASE), fixed"
    return _facts(
        ("objective", settings.objective),
        ("vectors", f"{settings.dim} numbers, unit length"),
        ("item tower", f"{_parameters(item):,} parameters; ids: {ids}"),
        ("user tower", f"{_parameters(user):,} parameters; {encoder}"),
        ("history", f"the newest {settings.max_history} events of a shopper"),
    )


def _data(run: Run) -> list[str]:
    events = run.data.interactions
    first, last = (to_datetime(moment) for moment in _span(events))
    cut = to_datetime(run.data.split.cut_us)
    lines = _facts(
        ("lake tables", f"`{run.tables}`"),
        ("events", f"{len(events):,}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"),
        ("cut", f"{cut:%Y-%m-%d %H:%M} UTC; nothing after it was looked at"),
        ("items", f"{len(run.data.catalog):,}"),
        ("shoppers", f"{len(events.user_ids):,}"),
    )
    counts = np.bincount(events.event_type, minlength=len(run.data.event_types))
    lines += ["", "| event type | weight as a target | events |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {weight:g} | {count:,} |"
        for name, weight, count in zip(
            run.data.event_types, run.data.type_weights, counts, strict=True
        )
        if count
    ]
    return lines


def _how(run: Run) -> list[str]:
    settings, report = run.settings, run.report
    since = f", from step {report.resumed_from_step:,} on" if report.resumed_from_step else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    shown = settings.model_dump(exclude={"steps", "objective", "checkpoint_minutes"})
    lines = _facts(
        ("began with", report.warm_start or "random weights"),
        (
            "steps",
            f"{report.steps:,} of {settings.steps:,}; weights kept: step {report.kept_step:,}",
        ),
        ("training loss at the end", f"{report.loss:.4f} nats, moving average"),
        ("exported user tower", f"differs from the trained one by {report.parity:.1g} at most"),
        ("time", f"{report.seconds:,.1f} s, reading the lake included{since}"),
        (
            "machine",
            f"{training_device().type}, {ranks.count()} process(es), "
            f"{torch.get_num_threads()} thread(s), {platform.machine()}",
        ),
        ("software", f"Python {platform.python_version()}, {libraries}"),
    )
    settings_shown = ", ".join(f"{name} = {value}" for name, value in shown.items())
    return [*lines, "", f"`[train]`: {settings_shown}."]


def _quality(run: Run) -> list[str]:
    held, report = run.held, run.report
    picture = ["", f"![Learning curves]({layout.CURVES})"]
    expected = (
        "What a shop can expect is measured on the days after the cut, by `vitrina evaluate`; in "
        "a published bundle, it is the last section."
    )
    if held is None:
        why = (
            f"fewer than {LEAST_SHOPPERS} shoppers could be judged"
            if steps_between(run.settings)
            else "the settings ask for none"
        )
        return [f"Not validated while training: {why}. {expected}", *picture]
    best = max(value for _, value in report.curve)
    left_out = len(run.data.interactions) - len(held.train)
    return [
        f"Validation: {held.metric} {best:.4f} at step {report.kept_step:,}, the best of "
        f"{len(report.curve)} looks. {len(held.users):,} shoppers were asked for what they turned "
        f"to next, all items they had not met ranked; {left_out:,} events were held out for it. "
        f"The figure chose the weights, and others' events of the same days were learnt from, so "
        f"it is no forecast. {expected}",
        *picture,
    ]


def _use(run: Run) -> list[str]:
    return [
        "Recommending this catalog's items to this shop's visitors, from what they have looked at "
        "and bought. Not for another catalog, and not for decisions about people."
    ]


def _limits(run: Run) -> list[str]:
    events, items = run.data.interactions, len(run.data.catalog)
    cold = int((np.bincount(events.row, minlength=items) == 0).sum())
    first, last = _span(events)
    days = (last - first) / US_PER_DAY
    limits = [
        f"{cold:,} of {items:,} items ({cold / items:.1%}) had no event: their vectors follow "
        "from their content alone.",
        "It knows nothing of what happened after the cut; items that came later have no vector.",
    ]
    if days < YEAR_DAYS:
        limits.append(f"The events span {days:,.0f} days, less than a year: it knows no seasons.")
    types = np.unique(events.event_type)
    if len(types) == 1:
        name = run.data.event_types[types[0]]
        limits.append(f"All events are of one type, {name}: it knows no other sign of interest.")
    if run.settings.objective == "discoveries":
        shoppers = len(events.user_ids)
        short = int((np.bincount(events.user, minlength=shoppers) < MIN_EVENTS).sum())
        limits += [
            f"{short:,} of {shoppers:,} shoppers ({short / shoppers:.1%}) had fewer than "
            f"{MIN_EVENTS} events: the user tower reads such histories, and did not learn from "
            "them.",
            "The item factors have seen the events that training asked for, so the loss is better "
            "than it would be on events of others; vectors that are served are drawn towards the "
            "mean shopper to make up for it.",
            f"It was trained on what shoppers met for the first time in the {HORIZON_DAYS} days "
            "after a moment; goods bought again are left to the repurchase model.",
        ]
    return [f"- {limit}" for limit in limits]


def _privacy(run: Run) -> list[str]:
    events, items = run.data.interactions, len(run.data.catalog)
    pairs = np.unique(events.user.astype(np.int64) * items + events.row)
    alone = int((np.bincount(pairs % items, minlength=items) == 1).sum())
    few = (
        f" {alone:,} items were met by one shopper alone, so their counts are that shopper's."
        if alone
        else ""
    )
    return [
        "No identifier, history or vector of any shopper is in the bundle. What it holds of them "
        "is added up over all: weights, how often each item was wanted and bought again, and the "
        f"mean of the shoppers' vectors.{few}"
    ]


def _facts(*pairs: tuple[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in pairs)]


def _parameters(tower: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in tower.parameters())


def _span(events: Interactions) -> tuple[int, int]:
    return int(events.timestamp_us.min()), int(events.timestamp_us.max())
