"""The leakage audit: a clean shop passes, and whatever knows the future is caught and named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from towers.taste_shop import (
    DAY_US,
    START_US,
    TYPE_WEIGHTS,
    TasteShop,
    as_interactions,
    ingested,
    taste_shop,
)
from vitrina.cli.app import app
from vitrina.cli.settings_file import settings_toml
from vitrina.encoding import EncodedBatch
from vitrina.errors import DataError, TrainingError
from vitrina.evaluation.leakage.audit import Audit, audit
from vitrina.evaluation.leakage.check import largest_difference
from vitrina.evaluation.leakage.columns import EventCounts, check_columns, hindsight
from vitrina.evaluation.leakage.futures import write_future
from vitrina.evaluation.leakage.order import (
    check_order,
    counted_ahead,
    every_event_an_item,
    misplaced_targets,
)
from vitrina.evaluation.leakage.report import audit_tables
from vitrina.lake.catalog import load_catalog
from vitrina.lake.sequences import Interactions, load_interactions
from vitrina.lake.split import to_datetime
from vitrina.settings import Settings, TrainSettings
from vitrina.towers import run
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.moments import Batch, MomentSampler
from vitrina.towers.next_item import SequenceBatch
from vitrina.towers.run import TOWERS, VECTORS, load_training_data, train, training_identity
from vitrina.towers.training import build

TRAIN = TrainSettings(dim=8, max_history=20, steps=3)
DAYS = 90
CUT_US = START_US + 70 * DAY_US


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Trained:
    shop: TasteShop
    settings: Settings


def with_attributes(shop: TasteShop, **columns: NDArray[Any]) -> TasteShop:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    attributes = [dict(zip(columns, row, strict=True)) for row in rows]
    return replace(shop, catalog=replace(shop.catalog, attributes=attributes))


def clicks(shop: TasteShop, until_us: int) -> NDArray[np.int64]:
    events = shop.interactions
    counted = events.row[events.timestamp_us < until_us]
    return np.bincount(counted, minlength=len(shop.catalog))


def settings_at_cut(folder: Path, shop: TasteShop) -> Settings:
    settings = ingested(folder, shop, TRAIN)
    evaluate = settings.evaluate.model_copy(update={"cut": to_datetime(CUT_US)})
    return settings.model_copy(update={"evaluate": evaluate})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A clean shop, whose catalog has an honest number of clicks, with its towers and draft."""
    shop = taste_shop(days=DAYS)
    shop = with_attributes(shop, clicks=clicks(shop, CUT_US))
    settings = settings_at_cut(tmp_path_factory.mktemp("clean"), shop)
    train(settings)
    assemble_draft(settings)
    return Trained(shop, settings)


@pytest.fixture(scope="module")
def clean(trained: Trained) -> Audit:
    return audit(trained.settings, retrain=True)


def copy_of(settings: Settings, folder: Path) -> Settings:
    """The same shop, with runs that may be spoilt."""
    shutil.copytree(settings.paths.runs, folder / "runs")
    paths = settings.paths.model_copy(update={"runs": folder / "runs"})
    return settings.model_copy(update={"paths": paths})


def named(found: Audit) -> set[str]:
    return {check.subject for check in found.leaks}


def test_a_clean_shop_passes_every_check(clean: Audit) -> None:
    assert clean.leaks == []
    subjects = [check.subject for check in clean.checks]
    for subject in (
        "histories",
        "prices and availability",
        "popularity features",
        "training batches",
        "repurchase model",
        "training: targets",
        "training: popularity, negatives",
        "catalog: attributes.clicks",
        "short training: item tower",
        "short training: user tower",
        "towers: co-occurrence factors",
        "towers: item vectors",
        "serving: scores",
        "draft: popularity",
        "whole training: item tower",
    ):
        assert subject in subjects
    assert all(check.numbers > 0 for check in clean.checks)


def test_the_audit_leaves_nothing_behind(trained: Trained, clean: Audit) -> None:
    runs = trained.settings.paths.runs
    assert sorted(path.name for path in runs.iterdir()) == ["draft", "towers"]


def test_the_audit_says_what_it_cannot_see(clean: Audit) -> None:
    assert any("Newest state" in note for note in clean.notes)


def test_a_count_of_clicks_taken_after_the_moment_is_caught(
    trained: Trained, tmp_path: Path
) -> None:
    """The post-click count: an attribute of the catalog that holds the whole period's clicks."""
    late = with_attributes(trained.shop, clicks=clicks(trained.shop, START_US + DAYS * DAY_US))
    settings = settings_at_cut(tmp_path, late)
    data = load_training_data(settings)
    price, count = check_columns(settings.paths.lake, data.catalog, data.split.cut_us)
    assert (price.subject, price.leaks) == ("catalog: price", False)
    assert (count.subject, count.leaks) == ("catalog: attributes.clicks", True)
    assert "knows the future" in count.sentence
    assert count.difference == pytest.approx(1.0, abs=1e-6)


@pytest.fixture(scope="module")
def late(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Towers trained until the end of the test days, passed off as those of the moment."""
    settings = copy_of(trained.settings, tmp_path_factory.mktemp("late"))
    evaluate = settings.evaluate.model_copy(update={"cut": to_datetime(CUT_US + 14 * DAY_US)})
    train(settings.model_copy(update={"evaluate": evaluate}), fresh=True)
    disguise(settings)
    return settings


def disguise(settings: Settings) -> None:
    """Make the towers say that they are those of the settings."""
    report = settings.paths.runs / TOWERS / "training.json"
    identity = training_identity(settings, load_training_data(settings).split)
    values = orjson.loads(report.read_bytes()) | {"identity": identity, "data_until_us": CUT_US}
    report.write_bytes(orjson.dumps(values))


def test_test_items_in_the_co_occurrence_table_are_caught(late: Settings) -> None:
    found = audit(late)
    assert "towers: co-occurrence factors" in named(found)
    assert not any(subject.startswith("short training") for subject in named(found))


def test_vectors_with_the_popularity_of_the_test_days_are_caught(
    trained: Trained, tmp_path: Path
) -> None:
    settings = copy_of(trained.settings, tmp_path)
    data = load_training_data(settings)
    everything = load_interactions(
        settings.paths.lake,
        before_us=None,
        item_ids=data.catalog.item_ids,
        event_types=data.event_types,
    )
    end = int(everything.timestamp_us.max()) + 1
    popularity = PopularityFeatures(everything, len(data.catalog)).at(end)
    towers = build(data.interactions, data.catalog, settings.train, len(data.event_types))
    folder = settings.paths.runs / TOWERS
    stored = load_file(folder / "item_tower.safetensors")
    towers.item.load_state_dict({name: torch.from_numpy(v) for name, v in stored.items()})
    save_file({"vectors": towers.item.embed_catalog(popularity)}, folder / VECTORS)
    found = audit(settings)
    assert "towers: item vectors" in named(found)
    assert "towers: co-occurrence factors" not in named(found)
    assert "draft: item vectors" in named(found), "the draft holds the honest ones"


def test_weights_that_saw_the_future_are_caught_by_training_again(
    trained: Trained, late: Settings, tmp_path: Path
) -> None:
    """Nothing but learnt weights is of the later training: only a training tells."""
    settings = copy_of(trained.settings, tmp_path)
    place = Path("towers", "item_tower.safetensors")
    learnt = load_file(late.paths.runs / place)["from_id.weight"]
    save_file(
        load_file(settings.paths.runs / place) | {"from_id.weight": learnt},
        settings.paths.runs / place,
    )
    assert "whole training: item tower" in named(audit(settings, retrain=True))


def test_code_that_reads_past_the_moment_is_caught(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(lake: Path, *, before_us: int | None, **wanted: Any) -> Interactions:
        return load_interactions(lake, before_us=None, **wanted)

    monkeypatch.setattr(run, "load_interactions", careless)
    found = audit(copy_of(trained.settings, tmp_path))
    assert found.leaks[0].subject == "histories", "the first one is where the leak is"
    assert {
        "popularity features",
        "training batches",
        "short training: item tower",
        "serving: scores",
    } <= named(found)


def test_a_moment_without_a_future_or_a_past_is_refused(trained: Trained) -> None:
    with pytest.raises(DataError, match="leaves no events"):
        audit(trained.settings, at=to_datetime(START_US - DAY_US))


def test_there_has_to_be_a_training_to_repeat(trained: Trained, tmp_path: Path) -> None:
    paths = trained.settings.paths.model_copy(update={"runs": tmp_path / "runs"})
    with pytest.raises(TrainingError, match="vitrina train"):
        audit(trained.settings.model_copy(update={"paths": paths}), retrain=True)


@pytest.fixture(scope="module")
def futures(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("futures")
    lake = trained.settings.paths.lake
    for future in ("removed", "scrambled", "repriced"):
        write_future(lake, folder / future, CUT_US, future)
    return {"as it is": lake, **{path.name: path for path in folder.iterdir()}}


def loaded(lake: Path, before_us: int | None) -> Interactions:
    ids = load_catalog(lake).item_ids
    return load_interactions(
        lake, before_us=before_us, item_ids=ids, event_types=["purchase", "view"]
    )


def test_the_other_futures_have_the_same_past(futures: dict[str, Path]) -> None:
    expected = loaded(futures["as it is"], CUT_US)
    for lake in futures.values():
        found = loaded(lake, CUT_US)
        assert found.user_ids == expected.user_ids
        for column in ("user", "row", "event_type", "timestamp_us", "session"):
            assert getattr(found, column).tolist() == getattr(expected, column).tolist()


def test_the_other_futures_are_other_ones(futures: dict[str, Path]) -> None:
    """An audit against futures that are alike would prove nothing."""
    past = len(loaded(futures["as it is"], CUT_US))
    after = {name: len(loaded(lake, None)) - past for name, lake in futures.items()}
    assert after["removed"] == 1
    assert after["repriced"] == after["as it is"] > 100
    everybody = set(loaded(futures["as it is"], None).user_ids)
    scrambled = set(loaded(futures["scrambled"], None).user_ids)
    assert any(user.startswith("newcomer") for user in scrambled)
    assert len(everybody - scrambled) == 1, "one has become a bot, and is known for one by the end"
    now, then = (
        [load_catalog(futures[name], as_of_us=moment) for moment in (None, CUT_US)]
        for name in ("as it is", "repriced")
    )
    priced = ~np.isnan(now[0].price)
    assert (then[0].price[priced] > now[0].price[priced]).all()
    assert (then[0].available != now[0].available).all()


def test_a_difference_is_the_largest_one_and_knows_other_shapes() -> None:
    a = np.array([1.0, np.nan, 3.0])
    assert largest_difference([a], [a.copy()]) == 0
    assert largest_difference([a], [np.array([1.0, np.nan, 2.5])]) == 0.5
    assert largest_difference([a], [np.array([1.0, 2.0, 3.0])]) > 1e300  # type: ignore[operator]
    assert largest_difference([a], [a[:2]]) is None
    assert largest_difference([np.array(["a"])], [np.array(["b"])]) == 1


def counts_of(rng: np.random.Generator, demand: NDArray[np.float64]) -> EventCounts:
    """A year of events before the moment and 16 days after it, for items of this demand a day."""
    months = rng.poisson(demand[:, None] * 28, (len(demand), 13)).astype(np.float64)
    days = rng.poisson(demand[:, None], (len(demand), 16)).cumsum(axis=1).astype(np.float64)
    return EventCounts(
        months.sum(axis=1, keepdims=True), months[:, -1:], days[:, [1, 3, 7]], days[:, -1:]
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_trait_that_makes_items_sell_is_no_leak(seed: int) -> None:
    """It says something about the future, but little that the past does not."""
    rng = np.random.default_rng(seed)
    demand = np.exp(rng.normal(-2.5, 1.5, 3000))
    counts = counts_of(rng, demand)
    cheapness = 1 / demand * np.exp(rng.normal(0, 0.5, 3000))
    for column in (cheapness, demand, counts.before[:, 0], rng.random(3000)):
        found = hindsight(column, counts)
        assert found is not None
        assert not found.suspect


@pytest.mark.parametrize("seed", range(5))
def test_a_count_that_goes_on_after_the_moment_is_a_leak_even_when_it_is_rough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = counts_of(rng, np.exp(rng.normal(-2.5, 1.5, 3000)))
    total = (counts.before + counts.after)[:, 0]
    rough = np.round(total * rng.uniform(0.98, 1.02, 3000), 1)
    soon = counts.before[:, 0] + counts.soon[:, 1]
    for column in (total, counts.after[:, 0], rough, soon):
        found = hindsight(column, counts)
        assert found is not None
        assert found.suspect


def test_too_few_items_say_nothing() -> None:
    counts = EventCounts(*(np.ones((10, 1)) for _ in range(4)))
    assert hindsight(np.arange(10.0), counts) is None
    many = EventCounts(*(np.arange(50.0)[:, None] for _ in range(4)))
    assert hindsight(np.ones(50), many) is None


def test_training_on_sequences_is_audited_too(trained: Trained) -> None:
    settings = trained.settings
    learn = TRAIN.model_copy(update={"objective": "next_item", "batch_events": 200})
    checks = check_order(load_training_data(settings), settings.model_copy(update={"train": learn}))
    assert [check.subject for check in checks] == [
        "training: targets",
        "training: states of sequences",
    ]
    assert not any(check.leaks for check in checks)


def test_targets_that_share_a_moment_with_their_history_are_caught() -> None:
    """A basket has one moment: what is in it does not follow from the rest of it."""
    user, moments = np.zeros(4, np.int64), START_US + np.array([0, 1, 1, 2]) * DAY_US
    events = every_event_an_item(as_interactions(user, user, user, moments))
    rows = np.arange(3)[None]
    histories = EncodedBatch(
        rows, rows * 0, np.zeros((1, 3), np.float32), np.ones((1, 3), np.bool_)
    )
    honest = SequenceBatch(
        histories, np.array([0, 0, 2]), np.array([1, 2, 3]), np.ones(3, np.float32)
    )
    assert misplaced_targets(events, honest) == (0, 3)
    assert misplaced_targets(events, replace(honest, states=np.array([0, 1, 2]))) == (1, 3)


@pytest.fixture(scope="module")
def drawn(trained: Trained) -> tuple[Interactions, Batch]:
    events = every_event_an_item(trained.shop.interactions)
    sampler = MomentSampler(
        events, len(events), TYPE_WEIGHTS, max_history=20, first_moment_us=START_US + 20 * DAY_US
    )
    return events, sampler.sample(np.random.default_rng(0))


def test_targets_inside_or_before_the_history_are_caught(
    drawn: tuple[Interactions, Batch],
) -> None:
    events, batch = drawn
    assert misplaced_targets(events, batch)[0] == 0
    backwards = replace(
        batch,
        candidates=batch.histories.rows[:, 0],
        positives=np.arange(len(batch.weights))[:, None],
    )
    assert misplaced_targets(events, backwards) == (len(batch.weights), len(batch.weights))
    late = replace(batch, moment_us=int(events.timestamp_us.max()) + 1)
    wrong, of = misplaced_targets(events, late)
    assert wrong == of
    swapped = replace(batch, positives=np.roll(batch.positives, 1, axis=0))
    assert misplaced_targets(events, swapped)[0] > 0, "another shopper's future is no target"


def test_negatives_and_popularity_that_count_what_is_to_come_are_caught(
    drawn: tuple[Interactions, Batch],
) -> None:
    events, batch = drawn
    assert counted_ahead(events, batch)[0] == 0
    end = int(events.timestamp_us.max()) + 1
    popularity = PopularityFeatures(events, len(events)).at(end)
    assert counted_ahead(events, replace(batch, popularity=popularity))[0] > 0
    later = events.timestamp_us[batch.candidates] >= batch.moment_us + 14 * DAY_US
    assert later.any()
    knowing = np.where(later, batch.log_q + 1, batch.log_q)
    assert counted_ahead(events, replace(batch, log_q=knowing))[0] == later.sum()


def test_the_command_names_the_leak_and_fails(trained: Trained, tmp_path: Path) -> None:
    """Asked for a moment ten days earlier, the catalog's count of clicks knows of those days."""
    values = trained.settings.model_dump(mode="json", include={"paths", "train"})
    values["paths"]["runs"] = str(tmp_path / "runs")
    (tmp_path / "vitrina.toml").write_text(settings_toml(values), "utf-8")
    moment = to_datetime(CUT_US - 10 * DAY_US)
    words = ["audit", "--config", str(tmp_path / "vitrina.toml"), "--at", f"{moment:%Y-%m-%d}"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 1
    assert "The future leaks: 1 of" in result.stderr
    assert "'attributes.clicks' knows the future" in result.stderr
    content = orjson.loads(result.stdout)
    assert content["at"] == moment.isoformat()
    leaks = [check["subject"] for check in content["checks"] if check["leaks"]]
    assert leaks == ["catalog: attributes.clicks"]
    assert any("no trained towers" in note for note in content["notes"])


def test_the_table_shows_every_check_in_eighty_columns(clean: Audit) -> None:
    console = Console(width=80, file=StringIO())
    console.print(audit_tables(clean.to_json()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for check in clean.checks:
        assert check.subject in text
    assert "LEAKS" not in text
    assert max(map(len, text.splitlines())) <= 80
