"""Training: it learns, it goes on where it was killed, and it says so when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from towers.taste_shop import TYPE_WEIGHTS, TYPES, TasteShop, taste_shop
from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.calibration import before
from vitrina.towers.checkpoint import TrainingState, trainable
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.moments import US_PER_DAY, newest_histories
from vitrina.towers.objectives import tower_inputs
from vitrina.towers.training import TrainProgress, TwoTowers, build, fit

STEPS = 12
KILLED_AT = 5
SETTINGS = TrainSettings(dim=8, max_history=10, steps=STEPS, checkpoint_minutes=1e-9)


def towers_for(shop: TasteShop, settings: TrainSettings = SETTINGS) -> TwoTowers:
    return build(shop.interactions, shop.catalog, settings, len(TYPES))


def trained(
    folder: Path, shop: TasteShop, settings: TrainSettings = SETTINGS, identity: str = "same"
) -> tuple[dict[str, Tensor], list[int]]:
    """Weights after `fit`, and the steps it took to get there."""
    towers, taken = towers_for(shop, settings), []

    def watch(progress: TrainProgress) -> None:
        taken.append(progress.step)

    fit(towers, shop.interactions, TYPE_WEIGHTS, settings, folder, identity, watch)
    return trainable(towers), taken


def assert_identical(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert different == []


TRAIN_AND_DIE = """
import os, signal, sys
from pathlib import Path
import torch
from towers.taste_shop import TYPE_WEIGHTS, taste_shop
from towers.test_training import KILLED_AT, SETTINGS, towers_for
from vitrina.settings import TrainSettings
from vitrina.towers.training import fit

torch.set_num_threads(1)
shop = taste_shop()
settings = SETTINGS.model_copy(update={"encoder": sys.argv[2], "objective": sys.argv[3]})

def die(progress):
    if progress.step == KILLED_AT:
        os.kill(os.getpid(), signal.SIGKILL)

towers = towers_for(shop, settings)
fit(towers, shop.interactions, TYPE_WEIGHTS, settings, Path(sys.argv[1]), "same", die)
"""


@pytest.mark.parametrize("objective", ["discoveries", "next_item"])
@pytest.mark.parametrize("encoder", ["transformer", "mlp"])
def test_training_that_was_killed_ends_as_if_nothing_had_happened(
    tmp_path: Path, encoder: str, objective: str
) -> None:
    settings = SETTINGS.model_copy(update={"encoder": encoder, "objective": objective})
    whole, _ = trained(tmp_path / "whole", taste_shop(), settings)
    killed = tmp_path / "killed"
    process = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_DIE, str(killed), encoder, objective],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [path.name for path in killed.iterdir()] == [f"checkpoint-{KILLED_AT}"]
    torch.manual_seed(99)  # resuming owes nothing to the state it finds
    resumed, taken = trained(killed, taste_shop(), settings)
    assert taken == list(range(KILLED_AT + 1, STEPS + 1))
    assert_identical(resumed, whole)


def test_one_seed_is_one_result_and_another_is_another(tmp_path: Path) -> None:
    shop = taste_shop()
    first, _ = trained(tmp_path / "a", shop)
    second, _ = trained(tmp_path / "b", shop)
    assert_identical(first, second)
    other, _ = trained(tmp_path / "c", shop, SETTINGS.model_copy(update={"seed": 7}))
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_several_threads_add_up_in_one_order(tmp_path: Path) -> None:
    """At a size at which torch shares the work out among threads."""
    shop = taste_shop(users=250, items=2000, tastes=10, events=60)
    settings = TrainSettings(dim=64, max_history=50, steps=3, checkpoint_minutes=60)
    torch.set_num_threads(2)
    try:
        first, _ = trained(tmp_path / "a", shop, settings)
        second, _ = trained(tmp_path / "b", shop, settings)
    finally:
        torch.set_num_threads(1)
    assert_identical(first, second)


def test_how_often_checkpoints_are_written_does_not_matter(tmp_path: Path) -> None:
    shop = taste_shop()
    often, _ = trained(tmp_path / "often", shop)
    never, _ = trained(
        tmp_path / "never", shop, SETTINGS.model_copy(update={"checkpoint_minutes": 60})
    )
    assert not (tmp_path / "never").exists()
    assert_identical(often, never)


def test_a_checkpoint_of_other_data_or_settings_is_ignored(tmp_path: Path) -> None:
    shop = taste_shop()
    trained(tmp_path, taste_shop(seed=3), identity="another")
    weights, taken = trained(tmp_path, shop)
    assert taken[0] == 1
    assert_identical(weights, trained(tmp_path / "fresh", shop)[0])


def test_checkpoints_hold_no_pickle_and_only_the_newest_stays(tmp_path: Path) -> None:
    trained(tmp_path, taste_shop())
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        Path(f"checkpoint-{STEPS}/state.json"),
        Path(f"checkpoint-{STEPS}/state.safetensors"),
    ]
    assert orjson.loads((tmp_path / files[0]).read_bytes())["step"] == STEPS
    assert load_file(tmp_path / files[1])


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    leftover = tmp_path / ".checkpoint-4.partial-4242"
    leftover.mkdir(parents=True)
    (leftover / "state.safetensors").write_bytes(b"half of")
    _, taken = trained(tmp_path, taste_shop())
    assert taken[0] == 1
    assert not leftover.exists()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    shop = taste_shop()
    towers = towers_for(shop)

    def spoil(progress: TrainProgress) -> None:
        if progress.step == 4:
            with torch.no_grad():
                towers.item.from_popularity.weight[0, 0] = float("nan")

    with pytest.raises(TrainingError, match=r"nan at step 5.*last checkpoint is kept"):
        fit(towers, shop.interactions, TYPE_WEIGHTS, SETTINGS, tmp_path, "same", spoil)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]
    resumed, taken = trained(tmp_path, shop)
    assert taken[0] == 5
    assert all(bool(value.isfinite().all()) for value in resumed.values())


def test_progress_is_what_a_person_wants_to_watch(tmp_path: Path) -> None:
    shop, seen = taste_shop(), []
    towers = towers_for(shop)
    state = fit(towers, shop.interactions, TYPE_WEIGHTS, SETTINGS, tmp_path, "same", seen.append)
    assert isinstance(state, TrainingState)
    assert [progress.step for progress in seen] == list(range(1, STEPS + 1))
    assert all(progress.steps == STEPS for progress in seen)
    assert all(np.isfinite(progress.loss) and progress.loss > 0 for progress in seen)
    assert all(progress.examples_per_second > 0 for progress in seen)
    assert seen[-1].seconds_left == 0
    assert 0.02 <= seen[-1].temperature < 0.2


def new_after(events: Interactions, moment: int, items: int) -> NDArray[np.bool_]:
    """bool [users, items]: turned to at or after the moment and not met before."""
    users = len(events.user_ids)
    past, later = np.zeros((2, users, items), np.bool_)
    early = events.timestamp_us < moment
    past[events.user[early], events.row[early]] = True
    later[events.user[~early], events.row[~early]] = True
    return later & ~past


@pytest.mark.parametrize(
    ("objective", "encoder", "negatives"),
    [
        ("discoveries", "transformer", None),
        ("discoveries", "mlp", None),
        ("next_item", "transformer", None),
        ("next_item", "transformer", 64),
        ("next_item", "mlp", None),
    ],
)
def test_learned_retrieval_finds_the_new_items_that_popularity_cannot(
    tmp_path: Path, objective: str, encoder: str, negatives: int | None
) -> None:
    """Ten tastes: one list for everybody can serve only a few, a learned list serves them all."""
    shop = taste_shop(users=150, items=300, tastes=10, events=24, seed=5)
    items = len(shop.catalog)
    cut = int(shop.interactions.timestamp_us.max()) - 14 * US_PER_DAY
    events = before(shop.interactions, cut)
    settings = TrainSettings(
        dim=16,
        max_history=20,
        steps=120,
        checkpoint_minutes=60,
        encoder=encoder,
        objective=objective,
        negatives=negatives,
    )
    towers = build(events, shop.catalog, settings, len(TYPES)).eval()
    wanted = new_after(shop.interactions, cut, items)
    met = new_after(events, 0, items)

    def recall(scores: NDArray[np.float32], k: int = 30) -> float:
        best = np.argsort(-np.where(met, -np.inf, scores), axis=1)[:, :k]
        return float(np.take_along_axis(wanted, best, 1).sum() / wanted.sum())

    def retrieval() -> NDArray[np.float32]:
        popularity = PopularityFeatures(events, items).at(cut)
        vectors = towers.item.embed_catalog(popularity if objective == "discoveries" else None)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
        batch = newest_histories(events, np.arange(len(events.user_ids)), settings.max_history)
        with torch.no_grad():
            users = towers.user(torch.from_numpy(vectors[batch.rows]), *tower_inputs(batch))
        scores: NDArray[np.float32] = users.numpy() @ vectors.T
        return scores

    if objective == "next_item":  # whose ids begin as factors, and find them untrained
        torch.nn.init.normal_(towers.item.id_table, std=0.2)
    untrained = recall(retrieval())
    fit(towers, events, TYPE_WEIGHTS, settings, tmp_path, "learn")
    counts = np.bincount(events.row, minlength=items).astype(np.float32)
    popular = recall(np.tile(counts, (len(events.user_ids), 1)))
    assert max(popular, untrained) < 0.25
    assert recall(retrieval()) > 0.5  # 0.77 to 0.86 on other shops of this kind
