"""The exported encoder is the trained one: same numbers, any batch, any length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from towers.taste_shop import TYPES
from vitrina.encoding import EncodedHistory, pad
from vitrina.errors import TrainingError
from vitrina.online.user_vector import OnnxEncoder
from vitrina.settings import TrainSettings
from vitrina.space import FloatMatrix, normalise
from vitrina.towers.export import INPUTS, PARITY, encoder_inputs, export_user_tower, save_weights
from vitrina.towers.objectives import tower_inputs
from vitrina.towers.training import user_tower
from vitrina.towers.user_tower import TowardsCentre

DIM, ITEMS, LONGEST = 16, 50, 24


def history(rng: np.random.Generator, length: int) -> EncodedHistory:
    days = np.sort(rng.exponential(30, length))[::-1]
    return EncodedHistory(
        rng.integers(ITEMS, size=length),
        rng.integers(len(TYPES), size=length),
        (days - days[-1]).astype(np.float32),
    )


@dataclass(frozen=True)
class Exported:
    tower: nn.Module
    path: Path
    vectors: FloatMatrix
    difference: float

    def of_torch(self, histories: list[EncodedHistory]) -> FloatMatrix:
        batch = pad(histories)
        vectors = torch.from_numpy(self.vectors)[torch.from_numpy(batch.rows)]
        with torch.no_grad():
            found: FloatMatrix = self.tower(vectors, *tower_inputs(batch)).numpy()
        return found


@pytest.fixture(scope="module", params=["transformer", "mlp"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    vectors = normalise(rng.standard_normal((ITEMS, DIM)))
    encoder = user_tower(TrainSettings(dim=DIM, encoder=request.param), len(TYPES))
    for parameter in encoder.parameters():  # as far from the initial values as training goes
        parameter.data += 0.2 * torch.randn_like(parameter)
    for name, buffer in encoder.named_buffers():
        if name.endswith("mean"):
            buffer += 0.1 * torch.randn_like(buffer)
    tower = TowardsCentre(encoder, nn.functional.normalize(torch.randn(DIM), dim=0))
    path = tmp_path_factory.mktemp("export") / "user_tower.onnx"
    sample = pad([history(rng, int(length)) for length in rng.integers(2, 12, size=6)])
    return Exported(tower, path, vectors, export_user_tower(tower, path, vectors, sample))


def test_the_export_agrees_with_torch_on_its_sample(exported: Exported) -> None:
    assert 0 <= exported.difference <= PARITY


def test_batch_and_length_are_free(exported: Exported) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(exported.path), options)
    assert [entry.name for entry in session.get_inputs()] == list(INPUTS)
    rng = np.random.default_rng(1)
    for length in range(2, LONGEST + 1):
        for size in (1, 5):
            shorter = rng.integers(2, length + 1, size=size - 1)
            histories = [history(rng, int(n)) for n in (length, *shorter)]
            inputs = encoder_inputs(exported.vectors, pad(histories))
            (found,) = session.run(["user_vectors"], inputs)
            np.testing.assert_allclose(found, exported.of_torch(histories), atol=PARITY, rtol=0)


def test_the_request_path_computes_what_was_trained(exported: Exported) -> None:
    serve = OnnxEncoder(exported.path)
    rng = np.random.default_rng(2)
    for length in range(2, LONGEST + 1):
        one = history(rng, length)
        found = serve(one, exported.vectors[one.rows])
        np.testing.assert_allclose(found, exported.of_torch([one])[0], atol=PARITY, rtol=0)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_saved_weights_bring_the_tower_back(exported: Exported, tmp_path: Path) -> None:
    save_weights(exported.tower, tmp_path / "user_tower.safetensors")
    tensors = load_file(tmp_path / "user_tower.safetensors")
    state = exported.tower.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


class TwoFaced(nn.Module):
    """A tower that exports as something else than it computes."""

    def forward(
        self,
        item_vectors: torch.Tensor,
        event_types: torch.Tensor,
        days: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        found = nn.functional.normalize((item_vectors * mask[:, :, None]).sum(1), dim=1)
        return found if torch.compiler.is_compiling() else -found


def test_an_export_that_differs_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = normalise(rng.standard_normal((ITEMS, DIM)))
    sample = pad([history(rng, 4) for _ in range(3)])
    with pytest.raises(TrainingError, match="differs from the trained one"):
        export_user_tower(TwoFaced(), tmp_path / "user_tower.onnx", vectors, sample)
