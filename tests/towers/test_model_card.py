"""The run's own account: a card whose numbers can be counted again, and a picture of its curves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.taste_shop import TasteShop, ingested, taste_shop
from vitrina.bundle.bundle import CARD, CURVES, load_bundle
from vitrina.settings import Settings, TrainSettings
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.curves import learning_curves, ticks
from vitrina.towers.run import TrainReport, load_training_data, train

TRAIN = TrainSettings(
    objective="next_item", encoder="mlp", dim=8, max_history=10, steps=6, validation_every=4
)
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Told:
    shop: TasteShop
    settings: Settings
    report: TrainReport
    card: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A shop whose last item nobody has met."""
    shop = taste_shop(users=900, items=120, events=8, days=60)
    events = shop.interactions
    shop = replace(shop, interactions=events.where(events.row != 119))
    settings = ingested(tmp_path_factory.mktemp("told"), shop, TRAIN)
    report = train(settings)
    return Told(shop, settings, report, (report.folder / CARD).read_text())


def test_the_report_has_the_curves(told: Told) -> None:
    assert told.report.metric == "recall@10"
    assert [step for step, _ in told.report.curve] == [0, 4, 6]
    assert [step for step, _ in told.report.losses] == list(range(1, 7))
    assert told.report.kept_step in (0, 4, 6)


def test_the_card_says_what_was_trained_on_what(told: Told) -> None:
    events = load_training_data(told.settings).interactions
    assert f"| events | {len(events):,}, " in told.card
    assert f"| shoppers | {len(events.user_ids):,} |" in told.card
    assert "| items | 120 |" in told.card
    assert "| objective | next_item |" in told.card
    assert f"| steps | 6 of 6; weights kept: step {told.report.kept_step} |" in told.card
    best = max(value for _, value in told.report.curve)
    assert f"recall@10 {best:.4f} at step {told.report.kept_step}" in told.card
    purchases = int((events.event_type == 5).sum())
    assert re.search(rf"\| \w+ \| \S+ \| {purchases:,} \|", told.card)


def test_its_limits_are_those_of_the_data(told: Told) -> None:
    events = load_training_data(told.settings).interactions
    cold = int((np.bincount(events.row, minlength=120) == 0).sum())
    assert cold >= 1
    assert f"- {cold} of 120 items ({cold / 120:.1%}) had no event" in told.card
    assert "less than a year: it knows no seasons" in told.card
    assert "all events are of one type" not in told.card.lower()
    limits = told.card.split("## Limits")[1]
    for word in ("factors", "shoppers ("):
        assert word not in limits, "that is the other objective's"


def test_no_shopper_is_named_in_the_bundle(told: Told) -> None:
    bundle = load_bundle(assemble_draft(told.settings))
    assert (bundle.path / CARD).read_text() == told.card
    assert (bundle.path / CURVES).read_bytes() == (told.report.folder / CURVES).read_bytes()
    assert f"![Learning curves]({CURVES})" in told.card
    ids = load_training_data(told.settings).interactions.user_ids
    content = b"".join(path.read_bytes() for path in bundle.path.iterdir())
    assert not any(user_id.encode() in content for user_id in ids)


def test_the_picture_shows_both_curves_and_the_step_that_was_kept() -> None:
    losses = [(step, 7 - step / 100) for step in range(10, 510, 10)]
    curve = [(step, 0.1 - abs(step - 300) / 5000) for step in range(0, 501, 100)]
    root = ElementTree.fromstring(learning_curves(losses, curve, "recall@10"))
    lines = [path for path in root.iter(f"{SVG}path") if path.get("class") == "line"]
    assert [len(re.findall("[ML]", path.get("d", ""))) for path in lines] == [50, 6]
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "kept: step 300, 0.1000" in texts
    assert any("recall@10" in text for text in texts)
    (dot,) = root.iter(f"{SVG}circle")
    height = float(dot.get("cy", "nan"))
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", lines[1].get("d", ""))
    assert height == min(float(y) for _, y in points)


def test_without_validation_the_picture_is_of_the_loss_alone() -> None:
    root = ElementTree.fromstring(learning_curves([(1, 5.0)], [], None))
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "line"]) == 1


@given(low=st.floats(-1e6, 1e6), spread=st.floats(0, 1e6))
def test_ticks_are_few_and_hold_the_data(low: float, spread: float) -> None:
    found = ticks(low, low + spread)
    assert 2 <= len(found) <= 7
    slack = 1e-9 * max(abs(low), spread, 1)
    assert found[0] <= low + slack
    assert found[-1] >= low + spread - slack
    assert all(math.isfinite(tick) for tick in found)
