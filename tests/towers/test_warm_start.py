"""A refresh begins where the last training ended; what does not fit is refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from towers.taste_shop import (
    DAY_US,
    START_US,
    TYPE_WEIGHTS,
    TYPES,
    TasteShop,
    as_interactions,
    ingested,
    taste_shop,
)
from vitrina.bundle.registry import Registry
from vitrina.errors import BundleError, TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.settings import PathSettings, Settings, TrainSettings
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.run import TrainReport, train
from vitrina.towers.training import TwoTowers, build, fit
from vitrina.towers.validation import hold_out
from vitrina.towers.warm_start import (
    EarlierTowers,
    carry_over,
    earlier_towers,
    rotation,
    save_towers,
)

OBJECTIVES = ("discoveries", "next_item")
TRAIN = TrainSettings(dim=8, max_history=10, steps=4, encoder="mlp", validation_every=0)


def with_attributes(catalog: CatalogTable) -> CatalogTable:
    colours = ["red", "green", "blue"]
    return replace(
        catalog, attributes=[{"colour": colours[row % 3]} for row in range(len(catalog))]
    )


def without(shop: TasteShop, gone: set[int]) -> TasteShop:
    """The shop without some items, and without their events."""
    kept = np.array([row for row in range(len(shop.catalog)) if row not in gone])
    columns = {
        name: np.array(column)[kept]
        if isinstance(column, np.ndarray)
        else [column[i] for i in kept]
        for name in CatalogTable.__dataclass_fields__
        for column in [getattr(shop.catalog, name)]
    }
    place = np.full(len(shop.catalog), -1)
    place[kept] = np.arange(len(kept))
    events = shop.interactions
    events = events.where(place[events.row] >= 0)
    events = as_interactions(events.user, place[events.row], events.event_type, events.timestamp_us)
    return replace(shop, catalog=CatalogTable(**columns), interactions=events)


def towers_for(
    shop: TasteShop, settings: TrainSettings, **options: Sequence[int] | None
) -> TwoTowers:
    return build(shop.interactions, shop.catalog, settings, len(TYPES), **options).eval()


def vectors_of(towers: TwoTowers, shop: TasteShop, settings: TrainSettings) -> np.ndarray:
    if settings.objective == "next_item":
        return towers.item.embed_catalog()
    moment = int(shop.interactions.timestamp_us.max())
    popularity = PopularityFeatures(shop.interactions, len(shop.catalog)).at(moment)
    return towers.item.embed_catalog(popularity)


def no_registry(folder: Path) -> PathSettings:
    return PathSettings(bundles=folder / "bundles")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_the_same_data_it_is_the_same_model(tmp_path: Path, objective: str) -> None:
    shop = taste_shop()
    shop = replace(shop, catalog=with_attributes(shop.catalog))
    settings = TRAIN.model_copy(update={"objective": objective})
    first = towers_for(shop, settings)
    with torch.no_grad():
        first.log_scale.fill_(1.25)
    save_towers(tmp_path, first, first.user, shop.catalog.item_ids, TYPES, settings, START_US)
    earlier = earlier_towers(no_registry(tmp_path), tmp_path)
    other_seed = settings.model_copy(update={"seed": 5})
    again = towers_for(shop, other_seed, widths=earlier.widths)
    assert np.abs(vectors_of(first, shop, settings) - vectors_of(again, shop, settings)).max() > 0.1
    carry_over(again, shop.catalog.item_ids, TYPES, earlier)
    assert again.log_scale.item() == 1.25
    np.testing.assert_allclose(
        vectors_of(again, shop, settings), vectors_of(first, shop, settings), atol=1e-5
    )
    for (name, value), other in zip(
        first.user.state_dict().items(), again.user.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_go_with_what_they_stand_for(tmp_path: Path, objective: str) -> None:
    """Items, a brand and event types come and go; all that stays keeps what it has learnt."""
    shop = taste_shop(items=64)
    shop = replace(shop, catalog=with_attributes(shop.catalog))
    settings = TRAIN.model_copy(update={"objective": objective, "encoder": "transformer"})
    before = without(shop, {3, 10, 63})
    first = towers_for(before, settings)
    old_types = TYPES[1:]
    with torch.no_grad():
        first.user.event_type.weight = torch.nn.Parameter(first.user.event_type.weight[1:].clone())
    save_towers(tmp_path, first, first.user, before.catalog.item_ids, old_types, settings, START_US)
    earlier = earlier_towers(no_registry(tmp_path), tmp_path)
    after = without(shop, {5, 20})
    catalog = replace(after.catalog, brand=["Aaa", *after.catalog.brand[1:]])
    after = replace(after, catalog=catalog)
    towers = towers_for(after, settings, widths=earlier.widths)
    carry_over(towers, catalog.item_ids, TYPES, earlier)
    now, then = towers.item, first.item
    if objective == "next_item":
        rows = {item_id: row for row, item_id in enumerate(before.catalog.item_ids)}
        for row, item_id in enumerate(catalog.item_ids):
            known = rows.get(item_id)
            wanted = torch.zeros(8) if known is None else then.id_table[known]
            assert torch.equal(now.id_table[row], wanted), item_id
        assert "item-0063" not in rows, "there are new ones"
    brands, table = now.vocabularies.fields[3], now.content.fields[3].weight
    assert torch.equal(table[brands.index("Aaa") + 1], torch.zeros(table.shape[1]))
    code = then.vocabularies.fields[3].index("Brand 2") + 1
    assert torch.equal(table[brands.index("Brand 2") + 1], then.content.fields[3].weight[code])
    assert torch.equal(table[0], then.content.fields[3].weight[0])
    assert torch.equal(now.content.attributes.table.weight, then.content.attributes.table.weight)
    types = towers.user.event_type.weight
    assert torch.equal(types[1:], first.user.event_type.weight)
    assert torch.equal(types[0], torch.zeros(8))


def test_factors_are_turned_to_lie_as_they_did() -> None:
    torch.manual_seed(0)
    old = torch.randn(50, 8)
    turned, _ = torch.linalg.qr(torch.randn(8, 8))
    moved = old @ turned * torch.tensor(1.3)
    found = moved @ rotation(moved, old)
    torch.testing.assert_close(found, 1.3 * old, atol=1e-4, rtol=0)


def curve_of(
    folder: Path, shop: TasteShop, settings: TrainSettings, earlier: EarlierTowers | None = None
) -> tuple[TwoTowers, dict[int, float]]:
    """Towers trained as `train` does it, and their validation figures by step."""
    held = hold_out(shop.interactions, len(shop.catalog), TYPE_WEIGHTS, settings)
    assert held is not None
    learnt = replace(shop, interactions=held.train)
    towers = towers_for(learnt, settings, widths=earlier.widths if earlier else None)
    if earlier is not None:
        carry_over(towers, shop.catalog.item_ids, TYPES, earlier)
    validation = held.validation(settings)
    state = fit(towers, held.train, TYPE_WEIGHTS, settings, folder, "", validation=validation)
    return towers, dict(state.curve)


def test_a_refresh_takes_a_fraction_of_the_steps(tmp_path: Path) -> None:
    """Two days more of events, an item more: what took all steps takes a few."""
    today = taste_shop(users=1400, items=200, tastes=20, events=6, loyalty=1.0, days=40)
    events = today.interactions
    known = events.timestamp_us < events.timestamp_us.max() - 2 * DAY_US
    yesterday = without(replace(today, interactions=events.where(known)), {199})
    settings = TrainSettings(
        objective="next_item", encoder="mlp", dim=16, steps=120, validation_every=20, patience=99
    )
    towers, old = curve_of(tmp_path / "old", yesterday, settings)
    folder = tmp_path / "towers"
    folder.mkdir()
    save_towers(folder, towers, towers.user, yesterday.catalog.item_ids, TYPES, settings, START_US)
    earlier = earlier_towers(no_registry(tmp_path), folder)
    quick = settings.model_copy(update={"steps": 20})
    _, warm = curve_of(tmp_path / "warm", today, quick, earlier)
    _, cold = curve_of(tmp_path / "cold", today, quick)
    assert max(warm.values()) >= 0.95 * max(old.values())
    assert max(cold.values()) < 0.7 * max(warm.values())


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, TrainReport]:
    """A promoted bundle, and what it was made from."""
    folder = tmp_path_factory.mktemp("refreshed")
    settings = ingested(folder, taste_shop(), TRAIN)
    report = train(settings)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(assemble_draft(settings), {}))
    return settings, report


def test_it_starts_from_the_current_bundle(refreshed: tuple[Settings, TrainReport]) -> None:
    settings, _ = refreshed
    version = Registry(settings.paths.bundles).current()
    earlier = earlier_towers(settings.paths, settings.paths.runs / "towers")
    assert earlier.source == f"the current bundle, {version}"
    seed = TRAIN.model_copy(update={"seed": 3})
    report = train(settings.model_copy(update={"train": seed}), warm_start=True)
    assert report.warm_start == earlier.source
    again = settings.model_copy(update={"train": seed})
    assert train(again, warm_start=True).cached, "what is complete is not done twice"
    assert assemble_draft(again).is_dir()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dim": 16}, "train.dim was 8 and is 16"),
        ({"objective": "next_item"}, "train.objective was 'discoveries' and is 'next_item'"),
        ({"encoder": "transformer"}, "train.encoder was 'mlp' and is 'transformer'"),
    ],
)
def test_towers_of_another_shape_are_refused(
    refreshed: tuple[Settings, TrainReport], change: dict[str, object], sentence: str
) -> None:
    settings, _ = refreshed
    other = settings.model_copy(update={"train": TRAIN.model_copy(update=change)})
    with pytest.raises(TrainingError, match=sentence):
        train(other, warm_start=True)


def test_nothing_to_start_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no bundle was promoted.*without --warm-start"):
        earlier_towers(no_registry(tmp_path), tmp_path / "towers")


def test_weights_and_ids_of_two_trainings_are_refused(
    refreshed: tuple[Settings, TrainReport], tmp_path: Path
) -> None:
    settings, _ = refreshed
    towers = tmp_path / "towers"
    shutil.copytree(settings.paths.runs / "towers", towers)
    ids = orjson.loads((towers / "item_ids.json").read_bytes())
    (towers / "item_ids.json").write_bytes(orjson.dumps(ids[::-1]))
    with pytest.raises(TrainingError, match="come from different trainings"):
        earlier_towers(no_registry(tmp_path), towers)
    (towers / "towers.json").unlink()
    with pytest.raises(TrainingError, match="another version of Vitrina"):
        earlier_towers(no_registry(tmp_path), towers)


def test_a_bundle_with_a_changed_weight_is_refused(
    refreshed: tuple[Settings, TrainReport], tmp_path: Path
) -> None:
    settings, _ = refreshed
    bundles = tmp_path / "bundles"
    shutil.copytree(settings.paths.bundles, bundles)
    version = Registry(bundles).current()
    assert version is not None
    file = bundles / version / "towers.json"
    file.write_bytes(file.read_bytes().replace(b"view", b"veiw"))
    with pytest.raises(BundleError, match=r"towers\.json"):
        earlier_towers(no_registry(tmp_path), tmp_path / "towers")


def test_a_catalog_with_other_columns_is_refused(tmp_path: Path) -> None:
    shop, settings = taste_shop(), TRAIN.model_copy(update={"objective": "next_item"})
    first = towers_for(shop, settings)
    save_towers(tmp_path, first, first.user, shop.catalog.item_ids, TYPES, settings, START_US)
    earlier = earlier_towers(no_registry(tmp_path), tmp_path)
    shop = replace(shop, catalog=with_attributes(shop.catalog))
    towers = towers_for(shop, settings, widths=earlier.widths)
    with pytest.raises(TrainingError, match="the catalog has other columns"):
        carry_over(towers, shop.catalog.item_ids, TYPES, earlier)


def test_weights_that_know_days_after_the_cut_are_refused(
    refreshed: tuple[Settings, TrainReport],
) -> None:
    settings, _ = refreshed
    evaluate = settings.evaluate.model_copy(update={"test_days": 21})
    with pytest.raises(TrainingError, match=r"learnt from events up to .* this training ends at"):
        train(settings.model_copy(update={"evaluate": evaluate}), warm_start=True)
