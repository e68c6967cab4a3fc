"""Checkpoints: everything training needs to go on exactly where it stood.

A folder `checkpoint-<step>` of safetensors (weights, averaged weights, optimiser moments, the
state of torch's random numbers) and JSON (step, the state of NumPy's). No pickle.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitrina.bundle.files import complete_or_absent, remove_partials
from vitrina.towers import ranks

_PREFIX: Final = "checkpoint-"


@dataclass(slots=True)
class TrainingState:
    """What changes during training.

    average: the moving average of the weights. losses: steps, and the moving average of the loss
    at each. curve: steps, and the validation figure at each. best: what was served at the best of
    them, empty before the first.
    """

    model: nn.Module
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    step: int = 0
    loss: float = float("nan")
    losses: list[tuple[int, float]] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kept_step(self) -> int:
        """The step whose weights are the best so far; without validation, the newest."""
        return max(self.curve, key=lambda point: point[1])[0] if self.curve else self.step


def save_checkpoint(folder: Path, state: TrainingState, identity: str) -> None:
    """Write a checkpoint into `folder` and remove older ones.

    identity: a digest of data and settings; only a run with the same one may resume from it.
    """
    target = folder / f"{_PREFIX}{state.step}"
    if target.exists():
        return
    tensors = {f"model.{name}": value for name, value in trainable(state.model).items()}
    tensors |= {f"average.{name}": value for name, value in state.average.items()}
    tensors |= {f"best.{name}": value for name, value in state.best.items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
    tensors["torch_rng"] = torch.get_rng_state()
    with complete_or_absent(target) as partial:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            partial / "state.safetensors",
        )
        about = {
            "identity": identity,
            "step": state.step,
            "loss": state.loss,
            "losses": state.losses,
            "curve": state.curve,
            "numpy_rng": _rng_to_json(state.rng),
        }
        (partial / "state.json").write_bytes(orjson.dumps(about))
    for older in folder.glob(f"{_PREFIX}*"):
        if older != target:
            shutil.rmtree(older)


def resume(folder: Path, state: TrainingState, identity: str) -> bool:
    """Bring `state` to the newest checkpoint of this very run. False when there is none."""
    if ranks.first():
        remove_partials(folder)
    for path in sorted(folder.glob(f"{_PREFIX}*"), key=_step, reverse=True):
        about = orjson.loads((path / "state.json").read_bytes())
        if about["identity"] == identity:
            _restore(path, about, state)
            return True
    return False


def remove_checkpoints(folder: Path) -> None:
    """Forget all checkpoints: the run is complete, or another one begins."""
    for path in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(path)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name: the parameters, and the user tower's running statistics.

    The item tower's buffers are made from the data again.
    """
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return tensors | {n: buffer for n, buffer in model.named_buffers() if n.startswith("user.")}


def _restore(path: Path, about: Mapping[str, Any], state: TrainingState) -> None:
    tensors = load_file(path / "state.safetensors")
    with torch.no_grad():
        for name, value in trainable(state.model).items():
            value.copy_(tensors[f"model.{name}"])
        for name, value in state.average.items():
            value.copy_(tensors[f"average.{name}"])
    optimiser = state.optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
    state.optimiser.load_state_dict({**optimiser, "state": moments})
    torch.set_rng_state(tensors["torch_rng"])
    state.rng.bit_generator.state = _rng_from_json(about["numpy_rng"])
    state.step, state.loss = about["step"], about["loss"]
    state.losses = [(step, value) for step, value in about["losses"]]
    state.curve = [(step, value) for step, value in about["curve"]]
    state.best = {
        name.removeprefix("best."): value
        for name, value in tensors.items()
        if name.startswith("best.")
    }


def _step(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _rng_to_json(rng: np.random.Generator) -> dict[str, Any]:
    """PCG64's state; its 128-bit integers go as text, JSON numbers end at 64."""
    state = dict(rng.bit_generator.state)
    return {**state, "state": {name: str(value) for name, value in state["state"].items()}}


def _rng_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "state": {name: int(value) for name, value in values["state"].items()}}
