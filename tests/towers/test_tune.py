"""The search for settings judges fairly, goes on where it ended, and prints what can be used."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from towers.taste_shop import TYPE_WEIGHTS, TYPES, ingested, taste_shop
from vitrina.cli.app import app
from vitrina.cli.settings_file import settings_toml
from vitrina.errors import TrainingError
from vitrina.lake.split import TimeSplit
from vitrina.settings import Settings, TrainSettings, load_settings
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY
from vitrina.towers.run import TrainingData, load_training_data
from vitrina.towers.tune import STUDIES, TuneReport, judges, suggestions, tune

TRAIN = TrainSettings(dim=8, max_history=8, objective="next_item", steps=12, batch_events=512)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop with enough shoppers to hold a hundred of them out."""
    shop = taste_shop(users=1200, items=40, events=8)
    return ingested(tmp_path_factory.mktemp("tune"), shop, TRAIN)


def in_folder(home: Settings, folder: Path, **train: object) -> Settings:
    """The same lake, with runs of its own."""
    paths = home.paths.model_copy(update={"runs": folder / "runs"})
    return home.model_copy(
        update={"paths": paths, "train": home.train.model_copy(update=dict(train))}
    )


@pytest.fixture(scope="module")
def searched(home: Settings) -> TuneReport:
    """A first search, with time for one trial at the least, however busy the machine is."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first one imports for seconds
    return tune(home, minutes=0.3)


@pytest.mark.slow
def test_a_search_begins_with_what_is_set_and_keeps_the_best(
    home: Settings, searched: TuneReport
) -> None:
    assert [path.name for path in home.paths.runs.iterdir()] == [STUDIES]
    assert searched.metric == "recall@10"
    assert searched.trials[0].state == "complete"
    assert searched.trials[0].settings == {
        name: value for name in suggestions(TRAIN) if (value := getattr(TRAIN, name)) is not None
    }
    assert searched.value == max(
        trial.value for trial in searched.trials if trial.state == "complete" and trial.value
    )
    assert searched.first_value is not None
    assert searched.value >= searched.first_value
    assert TrainSettings.model_validate(searched.best), "settings that can be set"


@pytest.mark.slow
def test_the_next_search_goes_on(home: Settings, searched: TuneReport) -> None:
    seen: list[int] = []
    known = len(searched.trials)
    second = tune(home, minutes=0.1, progress=lambda now: seen.append(now.trial))
    assert all(number >= known for number in seen)
    assert second.trials[:known] == searched.trials
    tried = [trial.settings for trial in second.trials]
    assert all(tried.count(settings) == 1 for settings in tried), "nothing is proposed twice"


@pytest.mark.slow
def test_the_command_ends_with_toml_to_paste(
    home: Settings, searched: TuneReport, tmp_path: Path
) -> None:
    file = tmp_path / "vitrina.toml"
    values = home.model_dump(mode="json", include={"paths", "train", "evaluate"}, exclude_none=True)
    file.write_text(settings_toml(values))
    result = CliRunner().invoke(app, ["tune", "--minutes", "0.02", "--config", str(file)])
    assert result.exit_code == 0, result.stderr
    table, _, pasted = result.stdout.partition("[train]")
    assert "recall@10" in table
    assert "complete" in table
    file.write_text(settings_toml(values | tomllib.loads(f"[train]{pasted}")))
    pasted_train = load_settings(file, {}).train
    best = tune(home, minutes=0).best  # of the trials of both searches
    assert {name: getattr(pasted_train, name) for name in best} == best


def test_only_what_is_used_is_searched() -> None:
    def names(**train: object) -> set[str]:
        return set(suggestions(TRAIN.model_copy(update=train)))

    assert {"blocks", "batch_events"} <= names()
    assert names() - names(encoder="mlp") == {"blocks"}
    assert names() - names(objective="discoveries") == {"batch_events"}


def test_discoveries_are_judged_after_all_that_was_learnt(home: Settings, tmp_path: Path) -> None:
    mine = in_folder(home, tmp_path, objective="discoveries")
    data = load_training_data(mine)
    held = judges(data, mine.train)
    last = int(data.interactions.timestamp_us.max())
    assert held.train.timestamp_us.max() <= last - HORIZON_DAYS * US_PER_DAY
    assert held.past.timestamp_us.max() <= last - HORIZON_DAYS * US_PER_DAY
    assert held.metric == "recall@100"


def test_too_little_time_is_said(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"No trial was complete after 1e-05 minutes"):
        tune(in_folder(home, tmp_path), minutes=1e-5)


def test_too_few_shoppers_are_said() -> None:
    shop = taste_shop(users=30)
    data = TrainingData(shop.catalog, shop.interactions, TimeSplit(0, 0), TYPES, TYPE_WEIGHTS)
    with pytest.raises(TrainingError, match="Fewer than 100 shoppers"):
        judges(data, TRAIN)
