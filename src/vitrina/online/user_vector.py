"""From a history to a user vector, by the ladder of rungs that always ends in an answer.

The vector is a function of the history and the bundle alone, never of what was retrieved for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Final

from vitrina.bundle.bundle import Bundle
from vitrina.encoding import (
    MIN_MIXED,
    EncodedHistory,
    encode_history,
    pad,
    recency_average,
    short_long_mix,
)
from vitrina.online.batch import Encoder, RememberedEncoder, VectorsOf
from vitrina.online.breaker import describe
from vitrina.online.stages import Stages
from vitrina.schema import History
from vitrina.space import FloatMatrix, UserVector

log = logging.getLogger(__name__)

RUNGS: Final = ("learned", "mix", "average", "centroid", "popular")
"""The ladder, best first. `popular` is the list that is left when there is no vector at all."""

LEARNED, MIX, AVERAGE, CENTROID, POPULAR = RUNGS

_UNIT_TOLERANCE = 1e-3


class OnnxEncoder:
    """The exported user tower, in ONNX Runtime on one thread.

    Raises whatever ONNX Runtime does for a missing package or a file it cannot use.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime  # here, so that a server without it still serves the other rungs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors come as exceptions; warnings are not for users
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, history: EncodedHistory, vectors: FloatMatrix) -> FloatMatrix:
        """A history of L events with its item vectors [L, dim] → user vector [dim]."""
        batch = pad([history])
        (user_vectors,) = self._session.run(
            ["user_vectors"],
            {
                "item_vectors": vectors[None],
                "event_types": batch.event_types,
                "days": batch.days,
                "mask": batch.mask,
            },
        )
        result: FloatMatrix = user_vectors[0]
        return result

    def many(self, histories: Sequence[EncodedHistory], vectors_of: VectorsOf) -> FloatMatrix:
        """B histories of one event or more, with the vectors of items by rows → [B, dim]."""
        batch = pad(histories)
        (user_vectors,) = self._session.run(
            ["user_vectors"],
            {
                "item_vectors": vectors_of(batch.rows) * batch.mask[:, :, None],
                "event_types": batch.event_types,
                "days": batch.days,
                "mask": batch.mask,
            },
        )
        result: FloatMatrix = user_vectors
        return result


class UserVectorizer:
    """Histories to vectors in the space of one bundle.

    An encoder that cannot be loaded takes the learned rung out of the ladder, not the server
    down: every answer says so in `degraded`.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._code_of_type = {name: code for code, name in enumerate(bundle.manifest.event_types)}
        self._encoder: Encoder | None = None
        self._encoder_problem = ""
        try:
            self._encoder = OnnxEncoder(bundle.encoder_path)
        except Exception as error:
            self._encoder_problem = f"{bundle.encoder_path.name}: {describe(error)}"
            log.error("The user encoder of %s cannot be loaded.", bundle.path, exc_info=True)

    def prepared(self, histories: Sequence[History]) -> UserVectorizer:
        """The same, with the vectors of these histories made already, in batches."""
        if self._encoder is None:
            return self
        prepared = copy(self)
        prepared._encoder = RememberedEncoder(
            self._encoder,
            [self._encoded(history) for history in histories],
            self._bundle.vectors_of,
        )
        return prepared

    def over(self, bundle: Bundle) -> UserVectorizer:
        """The same over its bundle with items added (`bundle.added`)."""
        vectorizer = copy(self)
        vectorizer._bundle = bundle
        return vectorizer

    def vector(self, history: History, stages: Stages) -> UserVector | None:
        """The vector of the best rung that works; `stages.degraded` says why better ones did not.

        Rungs that the history is too short for are passed over in silence: that is no fault.
        None when even the centroid fails; the popularity list answers then.
        """
        bundle = self._bundle
        encoded, dim = self._encoded(history), bundle.space.dim
        vectors = bundle.vectors_of(encoded.rows)
        ladder: tuple[tuple[str, int, Callable[[], FloatMatrix]], ...] = (
            (LEARNED, 1, lambda: stages.call("encoder", lambda: self._learned(encoded, vectors))),
            (MIX, MIN_MIXED, lambda: _checked(short_long_mix(vectors), dim)),
            (AVERAGE, 1, lambda: _checked(recency_average(vectors), dim)),
            (CENTROID, 0, lambda: _checked(bundle.centroid, dim)),
        )
        for rung, needed, encode in ladder:
            if len(encoded) < needed:
                continue
            try:
                values = encode()
            except Exception as error:
                stages.degraded.append(f"user_vector: the rung '{rung}' failed ({describe(error)})")
                continue
            return UserVector(values, bundle.space, bundle.user_embedding_version, rung)
        return None

    def _encoded(self, history: History) -> EncodedHistory:
        bundle = self._bundle
        return encode_history(
            history, bundle.row_of_item, self._code_of_type, bundle.manifest.max_history
        )

    def _learned(self, history: EncodedHistory, vectors: FloatMatrix) -> FloatMatrix:
        if self._encoder is None:
            raise RuntimeError(self._encoder_problem)
        # Checked within the call: the breaker has to hear of an encoder that answers NaN.
        return _checked(self._encoder(history, vectors), self._bundle.space.dim)


def _checked(values: FloatMatrix, dim: int) -> FloatMatrix:
    """`values` if it is a unit vector [dim]; a rung that yields anything else has failed."""
    if values.shape != (dim,):
        raise ValueError(f"its vector has shape {values.shape}, the space has {dim} dimensions")
    norm = math.sqrt(float(values @ values))
    if not abs(norm - 1) < _UNIT_TOLERANCE:  # also True for NaN
        raise ValueError(f"its vector has norm {norm:.4g}, not 1")
    return values
