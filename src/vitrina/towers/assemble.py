"""From trained towers to a draft bundle: everything serving needs, not yet judged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

from vitrina import __version__
from vitrina.bundle import bundle as layout
from vitrina.bundle.files import put_in_place
from vitrina.bundle.manifest import Lineage, define_space
from vitrina.bundle.writer import BundleContents, write_bundle
from vitrina.errors import TrainingError
from vitrina.index.tuning import build_index
from vitrina.lake.catalog import catalog_rows
from vitrina.lake.sequences import Interactions, popularity
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import current_tables, tables_made_at
from vitrina.schema import REPURCHASE_EVENT
from vitrina.settings import Settings
from vitrina.space import Vectors
from vitrina.towers.calibration import (
    CALIBRATION_USERS,
    POPULARITY_HALF_LIFE_DAYS,
    before,
    fit_discovery,
    fit_repurchase,
    item_repeat_rates,
)
from vitrina.towers.covisits import covisited
from vitrina.towers.export import encoder_inputs
from vitrina.towers.moments import HORIZON_DAYS, MIN_EVENTS, US_PER_DAY, newest_histories
from vitrina.towers.newcomers import newcomer_vector
from vitrina.towers.run import (
    VECTORS,
    TrainingData,
    completed,
    load_training_data,
    training_identity,
)

DRAFT: Final = "draft"
ENCODE_USERS: Final = 256


def assemble_draft(settings: Settings, *, progress: Callable[[str], None] | None = None) -> Path:
    """Write the draft bundle `<runs>/draft` from the last training run and return it.

    Raises TrainingError when there is no training of these data and settings.
    """
    say = progress or (lambda _: None)
    runs = settings.paths.runs
    data = load_training_data(settings)
    run = completed(runs)
    if run is None or run.identity != training_identity(settings, data.split):
        raise TrainingError(
            f"{runs} holds no towers trained on these tables with these settings. Run "
            f"'vitrina train' first."
        )
    created_at = datetime.now(UTC)
    values = load_file(run.folder / VECTORS)["vectors"]
    space = define_space(data.catalog.item_ids, values, run.folder / layout.ITEM_TOWER, created_at)
    vectors = Vectors(space, values)

    say("Encoding the shoppers")
    encode = Encoder(
        run.folder / layout.ENCODER, values, data.interactions, settings.train.max_history
    )
    users, user_vectors = encode.as_of(data.split.cut_us)
    say("Building and tuning the index")
    index, index_info = build_index(vectors, settings.index, Vectors(space, user_vectors))
    say("Fitting the ranking")
    ranking = _fit_ranking(data, encode, values)
    say("Writing the draft")
    fresh = runs / f"{DRAFT}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    purchase = _purchase_code(data)
    write_bundle(
        fresh,
        BundleContents(
            created_at=created_at,
            items=catalog_rows(settings.paths.lake),
            vectors=vectors,
            index=index,
            index_info=index_info,
            popularity=popularity(
                data.interactions, len(values), data.split.cut_us, POPULARITY_HALF_LIFE_DAYS
            ),
            repeat_rate=item_repeat_rates(data.interactions, len(values), purchase),
            centroid=newcomer_vector(data.interactions, values, data.split.cut_us),
            covisited=covisited(_wanted(data), len(values)),
            item_tower=run.folder / layout.ITEM_TOWER,
            user_tower=run.folder / layout.USER_TOWER,
            encoder=run.folder / layout.ENCODER,
            event_types=data.event_types,
            max_history=settings.train.max_history,
            lineage=_lineage(settings, data, len(users)),
            ranking=ranking,
            optional=[path for name in layout.OPTIONAL if (path := run.folder / name).exists()],
        ),
    )
    put_in_place(fresh, runs / DRAFT)
    return runs / DRAFT


class Encoder:
    """All shoppers' vectors as of a moment, by the exported user tower: what will be served."""

    def __init__(
        self,
        path: Path,
        vectors: NDArray[np.float32],
        interactions: Interactions,
        max_history: int,
    ) -> None:
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._vectors = vectors
        self._interactions = interactions
        self._max_history = max_history

    def as_of(
        self, moment_us: int, users: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of `users` (default: all) with enough history: numbers [B], vectors [B, dim]."""
        past = before(self._interactions, moment_us)
        counts = np.bincount(past.user, minlength=len(past.user_ids))
        known = np.flatnonzero(counts >= MIN_EVENTS)
        if users is not None:
            known = np.intersect1d(known, users)
        chunks = [known[i : i + ENCODE_USERS] for i in range(0, len(known), ENCODE_USERS)]
        encoded = [self._encode(past, chunk) for chunk in chunks]
        dim = self._vectors.shape[1]
        return known, np.concatenate(encoded or [np.zeros((0, dim), np.float32)])

    def _encode(self, past: Interactions, users: NDArray[np.int64]) -> NDArray[np.float32]:
        batch = newest_histories(past, users, self._max_history)
        (result,) = self._session.run(["user_vectors"], encoder_inputs(self._vectors, batch))
        vectors: NDArray[np.float32] = result
        return vectors


def _fit_ranking(
    data: TrainingData, encode: Encoder, values: NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    moment = data.split.cut_us - HORIZON_DAYS * US_PER_DAY
    everyone = len(data.interactions.user_ids)
    some = np.unique(np.linspace(0, everyone - 1, CALIBRATION_USERS).astype(np.int64))
    users, user_vectors = encode.as_of(moment, some)
    return {
        "repurchase": fit_repurchase(
            data.interactions, len(values), _purchase_code(data)
        ).to_json(),
        "discovery": fit_discovery(
            data.interactions, users, user_vectors, values, moment
        ).to_json(),
    }


def _wanted(data: TrainingData) -> Interactions:
    """The events that speak for an item; dismissing one does not."""
    return data.interactions.where(data.type_weights[data.interactions.event_type] > 0)


def _purchase_code(data: TrainingData) -> int:
    """The code of purchases, or one that no event has where the shop knows no such type."""
    types = data.event_types
    return types.index(REPURCHASE_EVENT) if REPURCHASE_EVENT in types else len(types)


def _lineage(settings: Settings, data: TrainingData, users: int) -> Lineage:
    times = data.interactions.timestamp_us
    return Lineage(
        code_version=__version__,
        data_from=to_datetime(int(times.min())).isoformat(),
        data_until=to_datetime(int(times.max())).isoformat(),
        catalog_read_at=tables_made_at(current_tables(settings.paths.lake)).isoformat(),
        rows={"items": len(data.catalog), "events": len(data.interactions), "users": users},
        settings=settings.model_dump(mode="json", exclude={"paths", "lake", "serve"}),
        seeds={"train": settings.train.seed},
    )
