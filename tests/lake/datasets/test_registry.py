"""The list of public data sets: what a person reads in it is there, and what it says holds."""

from __future__ import annotations

import pytest

from vitrina.errors import DataError
from vitrina.lake.datasets.base import EVENTS, ITEMS, Dataset
from vitrina.lake.datasets.registry import DATASETS, dataset_named
from vitrina.settings import Settings


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_a_set_says_what_people_have_to_know(dataset: Dataset) -> None:
    for text in (dataset.title, dataset.about, dataset.size, dataset.terms):
        assert text
    assert dataset.address.startswith("https://")
    assert dataset.decisions
    assert all(decision.endswith(".") for decision in dataset.decisions)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_its_settings_are_settings_and_its_sources_are_its_files(dataset: Dataset) -> None:
    Settings.model_validate(
        {
            **dataset.settings,
            "lake": {"items": list(dataset.items_from), "events": list(dataset.events_from)},
        }
    )
    roles = {file.role for file in dataset.files}
    for source in (*dataset.items_from, *dataset.events_from):
        assert set(source["files"]) <= roles | ({ITEMS, EVENTS} if dataset.prepare else set())


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"'netflix'.*retailrocket.*s3rec"):
        dataset_named("netflix")
