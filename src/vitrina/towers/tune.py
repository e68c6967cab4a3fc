"""A search for better settings of training, in a given time.

One trial is one training with other settings, judged by the shoppers whom `towers.validation` holds
out. Settings are proposed by the tree-structured Parzen estimator (Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", NeurIPS 2011), and a trial that does worse than half of the others
did at the same point is cut short (Golovin et al., "Google Vizier", KDD 2017, section 3.2.1).
`<runs>/tune.sqlite` keeps every trial: the next search of the same data goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import optuna
from optuna.trial import TrialState

from vitrina.errors import TrainingError
from vitrina.settings import Settings, TrainSettings
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY
from vitrina.towers.run import TrainingData, load_training_data, training_identity
from vitrina.towers.training import TrainProgress, TwoTowers, Validation, build, fit
from vitrina.towers.validation import LEAST_SHOPPERS, HeldOut, hold_out

STUDIES: Final = "tune.sqlite"
LOOKS: Final = 10
"""How often a trial is judged, at even shares of its steps: the first time before it trains."""
FULL_TRIALS: Final = 3
"""So many are complete before one is cut short, and none is before its second look."""
MOST_FAILURES: Final = 5
"""In a row; then it is not the settings."""

Suggestions = Mapping[str, Callable[[optuna.Trial], Any]]


@dataclass(frozen=True, slots=True)
class TrialReport:
    """One training. state: complete, cut short (worse than most, or time was up), failed.

    settings: those of [train] that it had. value: the best that validation measured.
    """

    number: int
    state: str
    value: float | None
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What a search came to, with the trials of earlier searches of the same data.

    best: settings of [train], to be put into vitrina.toml; value: the metric with them;
    first_value: with the settings that the search began from.
    """

    metric: str
    value: float
    first_value: float | None
    best: dict[str, Any]
    trials: list[TrialReport]
    storage: Path

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "storage": str(self.storage)}


@dataclass(frozen=True, slots=True)
class TuneProgress:
    """What a person watches. share: of the time. best: of the complete trials, if any."""

    share: float
    trial: int
    training: TrainProgress
    best: float | None


class _TimeIsUp(Exception):
    """Training is broken off."""


def tune(
    settings: Settings,
    *,
    minutes: float,
    progress: Callable[[TuneProgress], None] | None = None,
) -> TuneReport:
    """Search for `minutes`, beginning with the settings as they are, or where an earlier one ended.

    Reads the events before the cut, and writes nothing but the trials. Raises TrainingError when
    there are too few shoppers to judge by, or no trial was complete in the time; DataError.
    """
    data = load_training_data(settings)
    held = judges(data, settings.train)
    storage = settings.paths.runs / STUDIES
    study = _study(storage, settings, data)
    started = time.monotonic()
    deadline = started + minutes * 60
    failure: TrainingError | None = None
    failures = 0
    while time.monotonic() < deadline and failures < MOST_FAILURES:
        trial, best = study.ask(), _best_value(study)
        chosen = _chosen(trial, settings.train)
        trial.set_user_attr("settings", chosen)

        def watch(
            now: TrainProgress, number: int = trial.number, best: float | None = best
        ) -> None:
            if time.monotonic() > deadline:
                raise _TimeIsUp
            if progress is not None:
                share = (time.monotonic() - started) / (minutes * 60)
                progress(TuneProgress(min(share, 1.0), number, now, best))

        try:
            value = _run(trial, data, held, settings.train.model_copy(update=chosen), watch)
            study.tell(trial, value)
            failures = 0
        except (optuna.TrialPruned, _TimeIsUp):
            study.tell(trial, state=TrialState.PRUNED)
            failures = 0
        except TrainingError as error:  # most often settings under which the loss explodes
            study.tell(trial, state=TrialState.FAIL)
            failure, failures = error, failures + 1
    if _best_value(study) is None:
        raise TrainingError(
            f"No trial was complete after {minutes:g} minutes. Give it more --minutes, or train "
            f"for fewer steps (train.steps is {settings.train.steps:,})."
            + (f" The last trial failed: {failure}" if failure else "")
        ) from failure
    return _report(study, held, storage)


def suggestions(train: TrainSettings) -> Suggestions:
    """What is searched, of the settings that this objective and this encoder use."""
    found: dict[str, Callable[[optuna.Trial], Any]] = {
        "learning_rate": lambda trial: _log(trial, "learning_rate", 3e-4, 3e-2),
        "weight_decay": lambda trial: _log(trial, "weight_decay", 1e-4, 0.3),
        "dropout": lambda trial: _share(trial, "dropout", 0.6),
        "id_dropout": lambda trial: _share(trial, "id_dropout", 0.6),
        "history_dropout": lambda trial: _share(trial, "history_dropout", 0.8),
    }
    if train.encoder == "transformer":
        found["blocks"] = lambda trial: trial.suggest_int("blocks", 1, 3)
    if train.objective == "next_item":
        found["batch_events"] = lambda trial: 2 ** trial.suggest_int("log2_batch_events", 9, 13)
    return found


def _log(trial: optuna.Trial, name: str, low: float, high: float) -> float:
    """Three digits of it: what is printed is what was tried."""
    return float(f"{trial.suggest_float(name, low, high, log=True):.3g}")


def _share(trial: optuna.Trial, name: str, most: float) -> float:
    return round(trial.suggest_float(name, 0.0, most, step=0.05), 2)


def _chosen(trial: optuna.Trial, train: TrainSettings) -> dict[str, Any]:
    """A trial's settings; the first trial's are those that are set."""
    searched = suggestions(train)
    if trial.number == 0:
        present = {name: getattr(train, name) for name in searched}
        return {name: value for name, value in present.items() if value is not None}
    chosen = {name: suggest(trial) for name, suggest in searched.items()}
    if "batch_events" in chosen:
        # As many events as with the batches that are set, or larger batches would just train more.
        events = train.steps * train.batch_events
        chosen["steps"] = max(1, round(events / chosen["batch_events"]))
    return chosen


def judges(data: TrainingData, train: TrainSettings) -> HeldOut:
    """The shoppers by whom settings are judged; raises TrainingError where there are too few.

    With discoveries, nothing of after the moment of asking is learnt from, others' events neither.
    """
    judged = train.model_copy(update={"validation_every": 1})
    held = hold_out(data.interactions, len(data.catalog), data.type_weights, judged)
    if held is None:
        raise TrainingError(
            f"Fewer than {LEAST_SHOPPERS} shoppers can be held out to judge settings by: a fifth "
            f"of all at most, each with a history and something new after it. Ingest more events."
        )
    if train.objective == "discoveries":
        moment = int(data.interactions.timestamp_us.max()) + 1 - HORIZON_DAYS * US_PER_DAY
        held = replace(held, train=held.train.where(held.train.timestamp_us < moment))
    return held


def _study(storage: Path, settings: Settings, data: TrainingData) -> optuna.Study:
    """The study of these data, and of all settings that are not searched."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    searched = dict.fromkeys(suggestions(settings.train))
    fixed = settings.model_copy(update={"train": settings.train.model_copy(update=searched)})
    study = optuna.create_study(
        storage=f"sqlite:///{storage}",
        study_name=training_identity(fixed, data.split),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FULL_TRIALS, n_warmup_steps=1),
    )
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state == TrialState.RUNNING:  # a search that was stopped
            study.tell(trial.number, state=TrialState.FAIL)
    # Another seed every time, or a search that goes on would propose what it has proposed.
    study.sampler = optuna.samplers.TPESampler(seed=settings.train.seed + len(trials))
    return study


def _run(
    trial: optuna.Trial,
    data: TrainingData,
    held: HeldOut,
    train: TrainSettings,
    watch: Callable[[TrainProgress], None],
) -> float:
    """Train once; returns the best that validation measured. Raises TrialPruned."""
    looks = 0

    def measure(towers: TwoTowers) -> float:
        nonlocal looks
        value = held.measure(towers)
        trial.report(value, looks)
        looks += 1
        if trial.should_prune():
            raise optuna.TrialPruned
        return value

    towers = build(held.train, data.catalog, train, len(data.event_types))
    every = math.ceil(train.steps / LOOKS)
    with TemporaryDirectory() as nowhere:
        state = fit(
            towers,
            held.train,
            data.type_weights,
            train.model_copy(update={"checkpoint_minutes": math.inf}),
            Path(nowhere),
            "a trial",
            watch,
            Validation(measure, every, patience=LOOKS + 1),
            data.catalog.created_us,
        )
    return max(value for _, value in state.curve)


def _best_value(study: optuna.Study) -> float | None:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max((trial.value for trial in complete if trial.value is not None), default=None)


def _report(study: optuna.Study, held: HeldOut, storage: Path) -> TuneReport:
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "cut short"}
    trials = [
        TrialReport(
            number=trial.number,
            state=names.get(trial.state, "failed"),
            value=max(trial.intermediate_values.values(), default=None),
            seconds=round(trial.duration.total_seconds(), 1) if trial.duration else 0.0,
            settings=trial.user_attrs.get("settings", {}),
        )
        for trial in study.get_trials(deepcopy=False)
    ]
    best = study.best_trial
    return TuneReport(
        metric=held.metric,
        value=study.best_value,
        first_value=trials[0].value if trials[0].state == "complete" else None,
        best=best.user_attrs["settings"],
        trials=trials,
        storage=storage,
    )
