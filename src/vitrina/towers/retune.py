"""Another index for the draft: the fastest one that keeps a promise to the shop's own shoppers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

import orjson

from vitrina.bundle import bundle as layout
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.files import put_in_place
from vitrina.bundle.reindexed import reindexed
from vitrina.errors import BundleError, TrainingError
from vitrina.index.tuning import Tuned, tune_index
from vitrina.settings import Settings
from vitrina.space import Vectors
from vitrina.towers.assemble import DRAFT, Encoder
from vitrina.towers.index_front import index_front
from vitrina.towers.run import load_training_data


@dataclass(frozen=True, slots=True)
class Retuned:
    """version: of the draft with the new index. users: shoppers whose vectors were asked with."""

    version: str
    users: int
    tuned: Tuned


def retune_draft(
    settings: Settings, *, target: float, k: int, progress: Callable[[str], None] | None = None
) -> Retuned:
    """Put the index into the draft that answers fastest of those whose recall@k is `target`.

    Measured with the vectors of all shoppers as of the cut. The draft gets another version, all
    that was measured (`index_tuning.json`) and a picture of it (`index_tuning.svg`).
    Raises BundleError when there is no draft, TrainingError when it is not of the lake's items.
    """
    say = progress or (lambda _: None)
    folder = settings.paths.runs / DRAFT
    if not folder.is_dir():
        raise BundleError(f"There is no draft at {folder}. Make one with 'vitrina index'.")
    bundle = load_bundle(folder)
    say("Encoding the shoppers")
    queries = _user_vectors(settings, bundle)
    tuned = tune_index(
        bundle.vectors,
        queries,
        target=target,
        k=k,
        progress=lambda kind: say(f"Building and measuring {kind}"),
    )
    say("Writing the draft")
    about = {
        "k": k,
        "recall_target": target,
        "users": len(queries),
        "chosen": asdict(tuned.chosen),
        "measured": [asdict(one) for one in tuned.measured],
        "left_out": list(tuned.left_out),
    }
    notes = {
        layout.INDEX_TUNING: orjson.dumps(about),
        layout.INDEX_FRONT: index_front(tuned.measured, tuned.chosen, target, k).encode(),
    }
    fresh = folder.with_name(f"{DRAFT}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    version = reindexed(folder, fresh, tuned.index, tuned.info, notes)
    put_in_place(fresh, folder)
    return Retuned(version, len(queries), tuned)


def _user_vectors(settings: Settings, bundle: Bundle) -> Vectors:
    """All shoppers' vectors as of the cut, in the bundle's space."""
    data = load_training_data(settings)
    if list(data.catalog.item_ids) != bundle.item_ids:
        raise TrainingError(
            f"The draft {bundle.manifest.version} holds other items than the lake. Run 'vitrina "
            f"train' and 'vitrina index' first."
        )
    encode = Encoder(
        bundle.encoder_path, bundle.vectors.values, data.interactions, bundle.manifest.max_history
    )
    return Vectors(bundle.space, encode.as_of(data.split.cut_us)[1])
