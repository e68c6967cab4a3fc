"""From trained towers to files: weights as safetensors, the user tower as ONNX for serving."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from vitrina.bundle.item_encoder import ItemEncoder
from vitrina.content import ItemContent
from vitrina.encoding import EncodedBatch
from vitrina.errors import TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.towers.item_tower import ItemTower

PARITY: Final = 1e-4
"""Largest difference allowed between a number of PyTorch's user vector and the export's."""

PARITY_ITEMS: Final = 256

INPUTS: Final = ("item_vectors", "event_types", "days", "mask")


def save_weights(tower: nn.Module, path: Path) -> None:
    """Write a tower's parameters and buffers."""
    save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, path)


def export_user_tower(
    tower: nn.Module, path: Path, vectors: NDArray[np.float32], sample: EncodedBatch
) -> float:
    """Write the user tower as ONNX and compare the two on a sample of real histories.

    vectors float32 [items, dim]; sample: B histories into them. Batch and length stay free.
    Returns the largest difference of a number. Raises TrainingError if it is over PARITY.
    """
    tower.eval()
    inputs = encoder_inputs(vectors, sample)
    arguments = tuple(torch.from_numpy(inputs[name]) for name in INPUTS)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # notes of the exporter to its own developers
        expected = tower(*arguments).numpy()
        torch.onnx.export(
            tower,
            arguments,
            str(path),
            input_names=list(INPUTS),
            output_names=["user_vectors"],
            dynamic_shapes=tuple({0: batch, 1: length} for _ in INPUTS),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["user_vectors"], inputs)
    difference = float(np.abs(found - expected).max())
    if not difference <= PARITY:
        raise TrainingError(
            f"The exported user tower differs from the trained one by {difference:.2g} on real "
            f"histories, more than {PARITY}. Nothing was published. Train again; if it comes "
            f"back, the versions of torch, onnx and onnxruntime do not go together."
        )
    return difference


def require_item_parity(tower: ItemTower, folder: Path, catalog: CatalogTable) -> None:
    """Compare new items as serving makes them of `folder`'s files with the tower's own.

    On items spread over the whole catalog. Raises TrainingError if a number differs by more than
    PARITY.
    """
    tower.eval()
    rows = np.unique(np.linspace(0, len(catalog) - 1, PARITY_ITEMS).round().astype(np.int64))
    encoder = ItemEncoder.load(folder)
    assert encoder is not None, "what was just written is of this version"
    found = encoder(_content(catalog, rows))
    with torch.no_grad():
        expected = tower.as_new(torch.from_numpy(rows)).numpy()
    difference = float(np.abs(found - expected).max())
    if not difference <= PARITY:
        raise TrainingError(
            f"Vectors of new items would differ from the trained tower's by {difference:.2g}, more "
            f"than {PARITY}: `bundle.item_encoder` and `towers.item_tower` do not go together. "
            f"Nothing was published; report it."
        )


def _content(catalog: CatalogTable, rows: NDArray[np.int64]) -> ItemContent:
    return ItemContent(
        title=[catalog.title[row] for row in rows],
        description=[catalog.description[row] for row in rows],
        category_path=[catalog.category_path[row] for row in rows],
        price=catalog.price[rows],
        brand=[catalog.brand[row] for row in rows],
        location=[catalog.location[row] for row in rows],
        condition=[catalog.condition[row] for row in rows],
        attributes=[catalog.attributes[row] for row in rows],
    )


def encoder_inputs(
    vectors: NDArray[np.float32], batch: EncodedBatch
) -> dict[str, NDArray[np.generic]]:
    """The exported encoder's inputs by name; padding gets zero vectors."""
    return {
        "item_vectors": vectors[batch.rows] * batch.mask[:, :, None],
        "event_types": batch.event_types,
        "days": batch.days,
        "mask": batch.mask,
    }
