"""The demo's journal: a stage is done once for the same inputs, and again when they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vitrina.cli.journal import JOURNAL, Entry, Journal, Stage
from vitrina.errors import DataError


@dataclass
class Bench:
    """Three stages that note their runs, and whose outcomes may be lost."""

    folder: Path
    inputs: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"data": {}, "train": {"steps": 3}, "index": {}}
    )
    lost: set[str] = field(default_factory=set)
    interrupted: str | None = None

    def run(self) -> list[str]:
        """Complete all stages with a new journal, as a new process would; names of those run."""
        journal, ran = Journal(self.folder), []
        done: list[Entry] = []
        for name in self.inputs:
            entry = journal.complete(self._stage(name), done, self._timed)
            done.append(entry)
            if not entry.kept:
                ran.append(name)
        return ran

    def _stage(self, name: str) -> Stage:
        def run() -> dict[str, Any]:
            if name == self.interrupted:
                raise KeyboardInterrupt
            self.lost.discard(name)
            return {"made_by": name}

        def stands(outcome: Mapping[str, Any]) -> bool:
            assert outcome == {"made_by": name}
            if name in self.lost:
                raise DataError("What was made is gone.")
            return True

        return Stage(name, self.inputs[name], run, stands, lambda _: name)

    def _timed(self, stage: Stage) -> tuple[float, dict[str, Any]]:
        return 0.1, stage.run()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "demo")


def test_what_is_complete_is_not_done_again(bench: Bench) -> None:
    assert bench.run() == ["data", "train", "index"]
    assert bench.run() == []


def test_other_inputs_run_their_stage_and_all_after_it(bench: Bench) -> None:
    bench.run()
    bench.inputs["train"]["steps"] = 4
    assert bench.run() == ["train", "index"]


def test_an_outcome_that_is_gone_is_made_again(bench: Bench) -> None:
    bench.run()
    bench.lost.add("train")
    assert bench.run() == ["train", "index"]


def test_an_interrupted_run_picks_up_where_it_was(bench: Bench) -> None:
    bench.interrupted = "train"
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.interrupted = None
    assert bench.run() == ["train", "index"]


def test_interrupted_while_making_something_again_the_later_stages_hold_no_more(
    bench: Bench,
) -> None:
    bench.run()
    bench.lost.add("data")
    bench.interrupted = "train"
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.interrupted = None
    assert bench.run() == ["train", "index"]


def test_a_damaged_journal_means_that_nothing_is_complete(bench: Bench) -> None:
    bench.run()
    (bench.folder / JOURNAL).write_text('{"data": 3}')
    assert bench.run() == ["data", "train", "index"]


def test_a_folder_with_other_things_in_it_is_refused(bench: Bench) -> None:
    bench.folder.mkdir()
    (bench.folder / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="--dir"):
        bench.run()
    assert [path.name for path in bench.folder.iterdir()] == ["thesis.tex"]
