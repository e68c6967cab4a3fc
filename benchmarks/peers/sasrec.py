"""SASRec and eSASRec of RecTools on a split that another program gives. Runs in .venv-peers.

FOLDER/split.npz holds the events that are trained on: user, item, place (of the event in its
user's sequence), int64 [n] each; and asked, int64 [B], ascending, the users to recommend to. After
each epoch, a line of JSON is printed:

    epoch, seconds (of training since its start), events (that an epoch trains on)

and, when lists are due, FOLDER/lists-<epoch>.npy is written before it: int64 [B, 100], the items
that RecTools recommends, best first, without those the user has met; −1 after the end.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

DEPTH = 100


def main() -> None:
    options = parse_options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    pytorch_lightning.seed_everything(options.seed)
    with np.load(options.folder / "split.npz") as split:
        events = pd.DataFrame(
            {
                Columns.User: split["user"],
                Columns.Item: split["item"],
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(split["place"], unit="D"),
            }
        )
        asked = split["asked"]
    train(events, asked, options)


def train(events: pd.DataFrame, asked: np.ndarray, options: argparse.Namespace) -> None:
    dataset = Dataset.construct(events)
    # Seconds of training until the last time the clock was stopped, and when it last went on.
    trained, running_since = 0.0, 0.0

    def begin(*_: object) -> None:
        nonlocal running_since
        running_since = time.perf_counter()

    def end_of_epoch(trainer: pytorch_lightning.Trainer, module: torch.nn.Module) -> None:
        nonlocal trained
        trained += time.perf_counter() - running_since
        epoch = trainer.current_epoch + 1
        trainer.should_stop = trained > 60 * options.minutes
        last = trainer.should_stop or epoch == options.epochs
        if options.every and (last or epoch % options.every == 0):
            np.save(options.folder / f"lists-{epoch}.npy", lists(model, dataset, asked))
            module.train()
        line = {
            "epoch": epoch,
            "seconds": trained,
            "events": len(model.data_preparator.train_dataset.interactions.df),
        }
        print(json.dumps(line), flush=True)
        begin()

    model = SASRecModel(
        n_factors=options.width,
        n_blocks=options.blocks,
        n_heads=1,
        session_max_len=options.length,
        dropout_rate=0.2,
        loss="sampled_softmax",
        n_negatives=options.negatives,
        lr=0.001,
        batch_size=128,
        get_trainer_func=lambda: pytorch_lightning.Trainer(
            max_epochs=options.epochs,
            accelerator="auto",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            callbacks=[LambdaCallback(on_train_start=begin, on_train_epoch_end=end_of_epoch)],
        ),
        **layers(options),
    )
    model.fit(dataset)


def layers(options: argparse.Namespace) -> dict[str, object]:
    """Arguments of the model: eSASRec is SASRec with LiGR layers and the sampled softmax."""
    if options.layers == "sasrec":
        return {}
    return {
        "transformer_layers_type": LiGRLayers,
        "transformer_layers_kwargs": {"ff_factors_multiplier": options.expansion},
        "use_key_padding_mask": True,
    }


def lists(model: SASRecModel, dataset: Dataset, asked: np.ndarray) -> np.ndarray:
    """The best items of each user asked, int64 [B, DEPTH]."""
    model.is_fitted = True  # `fit` says so only at its end
    found = model.recommend(
        users=asked, dataset=dataset, k=DEPTH, filter_viewed=True, on_unsupported_targets="ignore"
    )
    rows = np.full((len(asked), DEPTH), -1, np.int64)
    place = np.searchsorted(asked, found[Columns.User])
    rows[place, found[Columns.Rank] - 1] = found[Columns.Item]
    return rows


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", choices=("sasrec", "ligr"), default="sasrec")
    parser.add_argument("--expansion", type=int, default=4, help="of LiGR's feed-forward part")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--negatives", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of training")
    parser.add_argument("--every", type=int, default=0, help="epochs from lists to lists (0: none)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
