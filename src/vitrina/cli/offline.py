"""Commands of the offline side: from files to a measured draft bundle."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import typer

from vitrina.cli import stages, tables
from vitrina.cli.console import Config, Json, say, say_error, settings_of, show

Engine = Literal["duckdb", "spark"]

SHOWN_OF_TRAINING: Final = (
    "steps",
    "kept_step",
    "resumed_from_step",
    "warm_start",
    "seconds",
    "loss",
    "temperature",
    "cached",
    "folder",
)


def ingest(
    engine: Annotated[
        Engine | None, typer.Option(help="What computes the tables.", show_default="[lake] engine")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all files again, not only what is new.")
    ] = False,
    histories: Annotated[
        bool,
        typer.Option("--histories/--no-histories", help="Load the shoppers' histories, too."),
    ] = True,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Read the shop's files into the lake, and its events into the shoppers' histories.

    Reads the items and events that `[lake]` names (CSV, JSON Lines or Parquet). Rows that cannot
    be used are set apart with their reason; the rest goes on. Files of events that the last ingest
    has read, and that are as they were, are not read again; the tables are the same as if they
    had been. If anything else has changed, all are, and the report says why.

    Writes the tables items, events and quarantine to `paths.lake`, and the histories to
    `paths.state`. The old tables stay until the new ones are complete.

    Example:

        VITRINA_LAKE__EVENTS='["clicks/*.csv"]' vitrina ingest --engine duckdb
    """
    settings = settings_of(config)
    if engine is not None:
        lake = settings.lake.model_copy(update={"engine": engine})
        settings = settings.model_copy(update={"lake": lake})
    report = stages.ingest_files(settings, full=full)
    loaded = stages.load_histories(settings) if histories else None
    content = report.to_json() | {"histories": loaded}
    show(content, as_json, *tables.ingest_report(report))
    if loaded is not None:
        say(f"{loaded:,} events are in the shoppers' histories.")


def train(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, whatever an earlier run left.")
    ] = False,
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start",
            help="Begin with the weights of the current bundle, or of the last run if none was "
            "promoted.",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Train the item tower and the user tower on the lake's events.

    Reads the lake's tables and `[train]`; events after the cut of `[evaluate]` are not looked at.
    Writes checkpoints and weights to `paths.runs`. Run again after Ctrl-C, it goes on from the
    last checkpoint; a training that is complete is not done twice. A warm start carries the weights
    of known items, categories and brands over to today's catalog.

    Trains on a GPU if there is one. Under `torchrun`, several processes share each step's work:
    the same training on two GPUs, or on two machines that see the same folders.

    Example:

        VITRINA_TRAIN__SEED=1 vitrina train

        torchrun --standalone --nproc-per-node 2 -m vitrina train
    """
    from vitrina.towers import ranks

    with ranks.joined():
        report = stages.train_towers(settings_of(config), fresh=fresh, warm_start=warm_start)
        if not ranks.first():
            return
    content = report.to_json()
    shown = {name: content[name] for name in SHOWN_OF_TRAINING}
    show(content, as_json, tables.facts("Training", shown))


def tune(
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to search.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Search for better settings of training, for some minutes.

    Reads the lake's tables and `[train]`. Every trial is a training with other settings: learning
    rate, weight decay, what is hidden (`dropout`, `id_dropout`, `history_dropout`), and, where they
    are used, `blocks` and `batch_events`. All else stays as it is set; so does the number of events
    that a training sees, whatever the batches. The first trial has the settings as they are.

    Trials are judged by shoppers whose newest events are held out: with `next_item` their last
    moment, with `discoveries` the two weeks before the cut. Nothing after the cut is looked at, so
    `vitrina evaluate` stays an honest judge. A trial that is behind most others is cut short.

    Give it the time of ten trainings at the least. Writes the trials to `tune.sqlite` in
    `paths.runs`, and nothing else: run again, the search goes on with all it knows. At the end it
    prints the trials, and the best settings as they go into `vitrina.toml`.

    Example:

        vitrina tune --minutes 60
    """
    report = stages.tune_settings(settings_of(config), minutes)
    show(report.to_json(), as_json, *tables.tuning(report))


def evaluate(
    bundle: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="A published bundle.", show_default="the draft"),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle on the days after the cut, beside the baselines it has to beat.

    Reads the lake and the bundle, and recommends to every shopper of the test through the same
    code that serves, ranking the whole catalog. Intervals are 95 %, from resampled shoppers.
    Writes `evaluation.json` in `paths.runs`, which `vitrina publish` puts into the bundle.

    Example:

        vitrina evaluate --json > metrics.json
    """
    from vitrina.bundle.registry import Registry
    from vitrina.evaluation.report import tables

    settings = settings_of(config)
    folder = (
        stages.draft_folder(settings)
        if bundle is None
        else Registry(settings.paths.bundles).path(bundle)
    )
    content = stages.evaluate_bundle(settings, folder).to_json()
    show(content, as_json, tables(content))
    for sentence in content["failed_gates"]:
        say(f"Gate failed: {sentence}", "yellow")


def audit(
    at: Annotated[
        datetime | None,
        typer.Option(
            help="The moment of prediction (UTC).",
            show_default="the cut of [evaluate]",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
        ),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Repeat the whole training and compare every weight.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Prove that nothing known at the moment of prediction depends on what happens after it.

    Writes the lake again, aside, with other futures: all later events removed; half of them gone
    and the rest with other shoppers, items, types and days; other prices later. From each, the
    code in use computes histories, prices, popularity, training batches with their negatives,
    the repurchase model, baselines, and a short training with its bundle, recommendations and
    scores. Every number must come out the same. The towers and the draft in `paths.runs` are
    checked against what the past alone gives.

    Training's targets must lie after their histories, and numeric columns of the catalog must not
    say more about later events than earlier ones explain, as a click count taken afterwards does.

    Reads the lake and `paths.runs` and changes neither. If anything leaks, it is named and the
    exit code is 1. The first line that leaks is where to look: the others follow from it.

    Example:

        vitrina audit --at 2017-12-01
    """
    from vitrina.evaluation.leakage.report import audit_tables

    found = stages.audit_leakage(settings_of(config), at=at, retrain=retrain)
    content = found.to_json()
    show(content, as_json, audit_tables(content))
    numbers = sum(check.numbers for check in found.checks)
    if found.leaks:
        say_error(
            f"The future leaks: {len(found.leaks)} of {len(found.checks)} checks failed, the first "
            f"of them {found.leaks[0].subject}. {found.leaks[0].sentence}"
        )
        raise typer.Exit(1)
    say(
        f"Nothing leaks: {len(found.checks)} checks of {numbers:,} numbers in "
        f"{stages.minutes(found.seconds)}.",
        "green",
    )
