"""Training in several processes is the same training as in one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from towers.taste_shop import TYPE_WEIGHTS, TYPES, TasteShop, ingested, taste_shop
from vitrina.cli.settings_file import settings_toml
from vitrina.settings import TrainSettings
from vitrina.towers.objectives import objective_of
from vitrina.towers.run import load_training_data, served
from vitrina.towers.training import TwoTowers, build, fit

OBJECTIVES = ("discoveries", "next_item")
SETTINGS = TrainSettings(
    dim=8, max_history=10, steps=8, batch_events=200, dropout=0, id_dropout=0, checkpoint_minutes=60
)


def settings_for(objective: str) -> TrainSettings:
    return SETTINGS.model_copy(update={"objective": objective})


def towers_for(shop: TasteShop, settings: TrainSettings) -> TwoTowers:
    return build(shop.interactions, shop.catalog, settings, len(TYPES))


def curve(folder: Path, objective: str) -> tuple[list[float], dict[str, Tensor]]:
    """Moving averages of the loss after each step, and the weights at the end."""
    shop, losses = taste_shop(), []
    towers = towers_for(shop, settings_for(objective))
    fit(
        towers,
        shop.interactions,
        TYPE_WEIGHTS,
        settings_for(objective),
        folder,
        "same",
        lambda progress: losses.append(progress.loss),
    )
    return losses, towers.state_dict()


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run under torchrun: `-m module …`, or a script and its arguments."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )


CURVES = """
import sys
from pathlib import Path
import orjson
from safetensors.torch import save_file
from towers.test_ranks import OBJECTIVES, curve
from vitrina.towers import ranks

with ranks.joined():
    for objective in OBJECTIVES:
        folder = Path(sys.argv[1]) / str(ranks.count())
        folder.mkdir(exist_ok=True)
        losses, weights = curve(folder / "runs", objective)
        name = f"{objective}-{ranks.number()}"
        (folder / f"{name}.json").write_bytes(orjson.dumps(losses))
        save_file(weights, folder / f"{name}.safetensors")
"""


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    script = tmp_path / "curves.py"
    script.write_text(CURVES)
    for processes in (1, 2):  # both by torchrun, so that both have the same number of threads
        process = torchrun(str(script), str(tmp_path), processes=processes)
        assert process.returncode == 0, process.stderr
    alone, together = tmp_path / "1", tmp_path / "2"
    for objective in OBJECTIVES:
        losses = orjson.loads((alone / f"{objective}-0.json").read_bytes())
        assert len(losses) == SETTINGS.steps
        first = orjson.loads((together / f"{objective}-0.json").read_bytes())
        assert first == pytest.approx(losses, abs=1e-4)
        assert orjson.loads((together / f"{objective}-1.json").read_bytes()) == []
        one, two = (load_file(together / f"{objective}-{n}.safetensors") for n in range(2))
        for name, value in load_file(alone / f"{objective}-0.safetensors").items():
            assert torch.equal(one[name], two[name]), name
            torch.testing.assert_close(one[name], value, atol=2e-3, rtol=0, msg=name)


@pytest.mark.slow
def test_torchrun_trains_the_towers_of_a_lake(tmp_path: Path) -> None:
    """One report, one folder of towers: as of one process."""
    chosen = settings_for("next_item").model_copy(update={"encoder": "mlp"})
    home = ingested(tmp_path, taste_shop(), chosen)
    file = tmp_path / "vitrina.toml"
    values = home.model_dump(mode="json", include={"paths", "train", "evaluate"}, exclude_none=True)
    file.write_text(settings_toml(values))
    process = torchrun("-m", "vitrina", "train", "--json", "--config", str(file))
    assert process.returncode == 0, process.stderr
    assert orjson.loads(process.stdout)["steps"] == SETTINGS.steps  # one report, not two
    data = load_training_data(home)
    towers = build(data.interactions, data.catalog, home.train, len(data.event_types))
    fit(towers, data.interactions, data.type_weights, home.train, tmp_path / "alone", "same")
    together = load_file(home.paths.runs / "towers/vectors.safetensors")["vectors"]
    expected = torch.from_numpy(served(towers, data, home.train)[0])
    torch.testing.assert_close(together, expected, atol=2e-3, rtol=0)
    assert [path.name for path in home.paths.runs.iterdir()] == ["towers"]


DIE = """
import os, signal, sys
from pathlib import Path

from towers.taste_shop import TYPE_WEIGHTS, taste_shop
from towers.test_ranks import settings_for, towers_for
from vitrina.errors import TrainingError
from vitrina.towers import ranks
from vitrina.towers.training import fit

shop, settings = taste_shop(), settings_for("next_item")
settings = settings.model_copy(update={"steps": 1000, "checkpoint_minutes": 1e-9})

with ranks.joined():
    towers = towers_for(shop, settings)
    if ranks.number() == 1:
        step = towers.user.states
        calls = 0
        def states(*arguments):
            global calls
            calls += 1
            if calls == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments)
        towers.user.states = states
    try:
        fit(towers, shop.interactions, TYPE_WEIGHTS, settings, Path(sys.argv[1]) / "runs", "same")
    except TrainingError as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(1)
"""


@pytest.mark.slow
def test_a_process_that_dies_ends_all_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    script = tmp_path / "die.py"
    script.write_text(DIE)
    # Without torchrun, which ends the others itself, as soon as it notices.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    together = {
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    survivor, dying = (
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env=os.environ | together | {"RANK": str(number)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    )
    assert dying.wait(timeout=120) == -signal.SIGKILL
    _, said = survivor.communicate(timeout=120)
    assert survivor.returncode == 1
    assert "Process 0 of the 2 that train together cannot reach the others" in said
    dying.communicate()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["checkpoint-5"]


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=5, deadline=None)
@given(count=st.integers(1, 5), step=st.integers(0, 9))
def test_parts_of_a_batch_add_up_to_it(objective: str, count: int, step: int) -> None:
    shop = taste_shop()
    towers = towers_for(shop, settings_for(objective)).eval()
    source = objective_of(
        shop.interactions, len(towers.item), TYPE_WEIGHTS, settings_for(objective)
    )
    batch = source.batch(step, np.random.default_rng(step))
    parts = [source.part(batch, number, count) for number in range(count)]
    with torch.no_grad():
        whole = source.loss(towers, batch).item()
        total = sum(source.loss(towers, part).item() * share for part, share in parts)
    assert total == pytest.approx(whole, abs=1e-5)
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    assert sum(source.examples(part) for part, _ in parts) == source.examples(batch)
