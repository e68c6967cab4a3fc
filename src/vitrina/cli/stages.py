"""The offline stages, each shown as it goes on: what the commands and the demo run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrina.cli.console import reporting, say
from vitrina.errors import BundleError, DataError, VitrinaError

if TYPE_CHECKING:
    from datetime import datetime

    from vitrina.bundle.bundle import Bundle
    from vitrina.evaluation.evaluate import Evaluation
    from vitrina.evaluation.leakage.audit import Audit
    from vitrina.lake.compaction import Compaction
    from vitrina.lake.report import IngestReport
    from vitrina.settings import Settings
    from vitrina.towers.retune import Retuned
    from vitrina.towers.run import TrainReport
    from vitrina.towers.training import TrainProgress
    from vitrina.towers.tune import TuneProgress, TuneReport


def ingest_files(settings: Settings, *, full: bool = False) -> IngestReport:
    """The shop's files into the lake's tables; full: those read before as well.

    Without those who have asked the server to forget them.
    """
    from vitrina.lake.ingest import STAGES, ingest
    from vitrina.lake.landing import land_only_erasures
    from vitrina.state.opening import has_state, open_state

    if has_state(settings):
        state = open_state(settings)
        try:
            land_only_erasures(state, settings.paths.lake)
        finally:
            state.close()
    with reporting("Ingesting") as report:
        return ingest(
            settings,
            scope="all" if full else "new",
            fit_only=True,
            progress=lambda stage: report(STAGES.index(stage) / len(STAGES), stage),
        )


def compact_log(settings: Settings) -> Compaction:
    """The event log into the lake's tables. Raises DataError when there is no log."""
    from vitrina.lake.compaction import compact
    from vitrina.lake.ingest import STAGES
    from vitrina.state.opening import has_state, open_state

    if not has_state(settings):
        raise DataError(
            f"There is no event log at {settings.paths.state}: nothing has been served yet."
        )
    state = open_state(settings)
    try:
        with reporting("Compacting") as report:
            return compact(
                settings,
                state,
                progress=lambda stage: report(STAGES.index(stage) / len(STAGES), stage),
            )
    finally:
        state.close()


def make_report(settings: Settings) -> tuple[Path, dict[str, Any]]:
    """The page about the lake's data; returns where it lies, and its figures."""
    from vitrina.lake.quality.report import remake_report

    with reporting("Reporting"):
        return remake_report(settings)


def find_drift(settings: Settings, a: Path, b: Path) -> dict[str, Any]:
    """What has changed between the tables of two lakes, or between two sets of tables."""
    from vitrina.lake.engine import open_engine
    from vitrina.lake.quality.drift import drift
    from vitrina.lake.tables import set_at

    with reporting("Comparing") as report, open_engine(settings) as engine:
        return drift(engine, set_at(a), set_at(b), lambda note: report(None, note))


def load_histories(settings: Settings) -> int:
    """The lake's events into the shoppers' histories; returns how many events."""
    from vitrina.lake.histories import load_history_columns
    from vitrina.state.opening import open_state

    with reporting("Loading histories") as report:
        report(None, "reading the lake")
        columns = load_history_columns(settings.paths.lake)
        state = open_state(settings)
        try:
            report(None, f"writing {len(columns):,} events")
            state.load_histories(
                columns.keys, columns.item_ids, columns.event_types, columns.timestamps_us
            )
        finally:
            state.close()
    return len(columns)


def train_towers(
    settings: Settings, *, fresh: bool = False, warm_start: bool = False
) -> TrainReport:
    """The towers, trained on the lake; goes on from the last checkpoint of the same training.

    Of processes that train together, the first one shows how it goes on.
    """
    from vitrina.towers import ranks
    from vitrina.towers.run import train

    if not ranks.first():
        return train(settings, fresh=fresh, warm_start=warm_start)
    with reporting("Training") as report:

        def progress(now: TrainProgress) -> None:
            validation = "" if now.metric is None else f"validation {now.metric:.4f} · "
            note = (
                f"step {now.step:,} of {now.steps:,} · loss {now.loss:.3f} · {validation}"
                f"temperature {now.temperature:.3f} · {now.examples_per_second:,.0f} examples/s · "
                f"{minutes(now.seconds_left)} left"
            )
            report(now.step / max(1, now.steps), note)

        return train(settings, fresh=fresh, warm_start=warm_start, progress=progress)


def tune_settings(settings: Settings, limit: float) -> TuneReport:
    """Better settings of training; limit: minutes to search for them."""
    from vitrina.towers.tune import tune

    with reporting("Tuning") as report:

        def progress(now: TuneProgress) -> None:
            training = now.training
            metric = "" if training.metric is None else f" · now {training.metric:.4f}"
            best = "" if now.best is None else f" · best {now.best:.4f}"
            report(
                now.share,
                f"trial {now.trial} · step {training.step:,} of {training.steps:,}{metric}{best}",
            )

        return tune(settings, minutes=limit, progress=progress)


def assemble(settings: Settings) -> Path:
    """The draft bundle: catalog embedded, index built, ranking fitted. Returns its folder."""
    from vitrina.towers.assemble import assemble_draft

    with reporting("Indexing") as report:
        return assemble_draft(settings, progress=lambda note: report(None, note))


def retune(settings: Settings, *, target: float, k: int) -> Retuned:
    """The draft with the fastest index whose recall@k reaches the target."""
    from vitrina.towers.retune import retune_draft

    with reporting("Tuning the index") as report:
        return retune_draft(settings, target=target, k=k, progress=lambda note: report(None, note))


def evaluate_bundle(settings: Settings, folder: Path) -> Evaluation:
    """A bundle's metrics on the time after the cut, and its gates beside the current bundle."""
    from vitrina.evaluation.evaluate import evaluate

    with reporting("Evaluating") as report:
        current = _current_bundle(settings)
        return evaluate(
            settings, folder, current=current, progress=lambda note, share: report(share, note)
        )


def audit_leakage(settings: Settings, *, at: datetime | None, retrain: bool) -> Audit:
    """Whether anything that is known at a moment changes with what happens after it."""
    # Its trainings are compared bit by bit, and a GPU's sums come out in another order each time.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from vitrina.evaluation.leakage.audit import audit

    with reporting("Auditing") as report:
        return audit(
            settings, at=at, retrain=retrain, progress=lambda note, share: report(share, note)
        )


def publish_draft(settings: Settings) -> str:
    """The draft, with its evaluation, into the registry; returns its version.

    Raises BundleError when there is no draft, or no evaluation of it.
    """
    from vitrina.bundle.manifest import read_manifest
    from vitrina.bundle.registry import Registry
    from vitrina.evaluation.report import markdown

    folder = draft_folder(settings)
    if not folder.is_dir():
        raise BundleError(f"There is no draft at {folder}. Make one with 'vitrina index'.")
    version = read_manifest(folder).version
    evaluation = read_evaluation(settings)
    if evaluation.get("bundle") != version:
        raise BundleError(
            f"{evaluation_file(settings)} is of bundle {evaluation.get('bundle')}, the draft is "
            f"{version}. Run 'vitrina evaluate' to measure the draft."
        )
    return Registry(settings.paths.bundles).publish(folder, evaluation, markdown(evaluation))


def _current_bundle(settings: Settings) -> Bundle | None:
    """What a new bundle has to hold its own against. One that cannot be loaded is no measure."""
    from vitrina.bundle.bundle import load_bundle
    from vitrina.bundle.registry import Registry

    registry = Registry(settings.paths.bundles)
    try:
        version = registry.current()
        return None if version is None else load_bundle(registry.path(version))
    except VitrinaError as error:
        say(f"Not compared with the current bundle: {error}", "yellow")
        return None


def draft_folder(settings: Settings) -> Path:
    """Where `vitrina index` leaves the draft bundle."""
    return settings.paths.runs / "draft"


def evaluation_file(settings: Settings) -> Path:
    """Where `vitrina evaluate` leaves its results."""
    return settings.paths.runs / "evaluation.json"


def read_evaluation(settings: Settings) -> dict[str, Any]:
    """The last evaluation (`Evaluation.to_json`). Raises BundleError when there is none."""
    import orjson

    file = evaluation_file(settings)
    try:
        values: dict[str, Any] = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"There is no {file}: the draft has not been evaluated. Run 'vitrina evaluate'."
        ) from None
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{file} is not JSON: {error}. Run 'vitrina evaluate' again.") from error
    return values


def minutes(seconds: float) -> str:
    """A duration to read: `42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
