"""SASRec of RecTools, trained by a child process in its own environment, on a split of ours.

RecTools wants a NumPy older than Vitrina's, so the two cannot share a process. Data go over as
files (`peers/sasrec.py` describes them), and ranked lists come back, which are judged here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from children import watch

from vitrina.evaluation.metrics import Rows
from vitrina.evaluation.protocols import LeaveOneOut
from vitrina.towers.moments import user_starts

PYTHON: Final = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
PROGRAM: Final = Path(__file__).parent / "peers" / "sasrec.py"
SASREC: Final = {"layers": "sasrec", "width": 64, "blocks": 1, "length": 50, "negatives": 256}
"""With sampled softmax, one head, dropout 0.2, learning rate 0.001 and batches of 128: what the
authors of eSASRec (RecSys 2025) list for these data, for SASRec and eSASRec alike. The table of
their repository says width 64; its configuration files say 256."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """seconds: of training since its start. events: what an epoch trains on, without padding."""

    epoch: int
    seconds: float
    events: int


@dataclass(frozen=True, slots=True)
class PeerRun:
    folder: Path
    epochs: list[Epoch]
    peak_gb: float

    def lists(self) -> dict[int, Rows]:
        """Ranked lists int64 [B, 100] of the split's shoppers, by epoch."""
        files = {each.epoch: self.folder / f"lists-{each.epoch}.npy" for each in self.epochs}
        return {epoch: np.load(file) for epoch, file in files.items() if file.exists()}


def train_peer(
    split: LeaveOneOut,
    settings: Mapping[str, Any],
    folder: Path,
    hear: Callable[[str], None] | None = None,
) -> PeerRun:
    """Train on the split in a child process; `folder` is made anew.

    settings: the program's options by name. Ends the program where the environment is not.
    """
    if not PYTHON.exists():
        raise SystemExit(f"There is no {PYTHON}. Run 'make peers', which installs RecTools there.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    events = split.train
    place = np.arange(len(events)) - user_starts(events)[events.user]
    np.savez(
        folder / "split.npz",
        user=events.user.astype(np.int64),
        item=events.row.astype(np.int64),
        place=place,
        asked=split.users,
    )
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    found = watch([str(PYTHON), str(PROGRAM), str(folder), *options], hear)
    return PeerRun(folder, [Epoch(**json.loads(line)) for line in found.lines], found.peak_gb)
