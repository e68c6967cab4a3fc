"""The same figures as an independent library's (ranx), on real shoppers."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from vitrina.evaluation.metrics import DEPTH, accuracy

BEAUTY = Path(__file__).parents[2].parent / "shared/data/amazon-s3rec/Beauty.txt.gz"
SHOPPERS = 300
NAMES = {"recall@10": "recall@10", "recall@100": "recall@100", "ndcg@10": "ndcg@10", "mrr": "mrr"}

JUDGE = """
import json, sys
from ranx import Qrels, Run, evaluate
world = json.load(sys.stdin)
found = evaluate(Qrels(world["wanted"]), Run(world["ranked"]), world["names"], return_mean=False)
print(json.dumps({name: list(map(float, values)) for name, values in found.items()}))
"""


def test_accuracy_is_what_another_library_finds() -> None:
    """Targets: a shopper's last two items. Lists: the other shoppers' items, in a random order."""
    with gzip.open(BEAUTY, "rt") as file:
        sequences = [line.split()[1:] for line, _ in zip(file, range(SHOPPERS), strict=False)]
    catalog = sorted({item for sequence in sequences for item in sequence})
    row = {item: place for place, item in enumerate(catalog)}
    rng = np.random.default_rng(0)
    targets = np.zeros((SHOPPERS, len(catalog)), np.float32)
    ranked = np.full((SHOPPERS, DEPTH), -1, np.int64)
    for shopper, sequence in enumerate(sequences):
        wanted = [row[item] for item in sequence[-2:]]
        targets[shopper, wanted] = 1
        length = int(rng.integers(1, DEPTH + 1))
        shown = rng.permutation(len(catalog))[:length]
        shown[rng.integers(length)] = wanted[0]  # so that some are found
        _, first = np.unique(shown, return_index=True)
        ranked[shopper, : len(first)] = shown[np.sort(first)]

    found = accuracy(ranked, sp.csr_matrix(targets))
    world = {
        "names": list(NAMES.values()),
        "wanted": {
            f"{shopper:04d}": {catalog[place]: 1 for place in np.flatnonzero(targets[shopper])}
            for shopper in range(SHOPPERS)
        },
        "ranked": {
            f"{shopper:04d}": {
                catalog[place]: 1.0 - rank / DEPTH
                for rank, place in enumerate(ranked[shopper])
                if place >= 0
            }
            for shopper in range(SHOPPERS)
        },
    }
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JUDGE],
        input=json.dumps(world),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},  # compiling takes longer than judging
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    expected = json.loads(answer.stdout.splitlines()[-1])
    for ours, theirs in NAMES.items():
        assert found[ours] == pytest.approx(expected[theirs], abs=1e-6), ours
        assert 0 < found[ours].mean() < 1
