"""The demo's journal: which stages are complete, and from which inputs, so that none is redone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from vitrina import __version__
from vitrina.bundle.files import replace_file
from vitrina.errors import DataError, VitrinaError

JOURNAL: Final = "demo.json"
"""The journal's file; a folder that has it was made by the demo."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the demo.

    inputs: what its outcome depends on beside the stages before it, as JSON values.
    run: does it and returns its outcome, as JSON values.
    stands: whether an outcome of an earlier run is still there.
    tell: the outcome in a few words.
    """

    name: str
    inputs: Mapping[str, Any]
    run: Callable[[], dict[str, Any]]
    stands: Callable[[Mapping[str, Any]], bool]
    tell: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A completed stage. fingerprint: of its inputs and those of all before; kept: not run now."""

    fingerprint: str
    seconds: float
    outcome: Mapping[str, Any]
    kept: bool = True


class Journal:
    """`demo.json` in the demo's folder, replaced whole after each stage.

    Raises DataError for a folder that has other things in it and no journal.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / JOURNAL
        self._entries: dict[str, Entry] = {}
        if self._file.exists():
            self._entries = self._read()
        elif folder.exists() and any(folder.iterdir()):
            raise DataError(
                f"{folder} holds files that are not the demo's. Name another folder with --dir."
            )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()

    def complete(
        self,
        stage: Stage,
        before: Sequence[Entry],
        run: Callable[[Stage], tuple[float, dict[str, Any]]],
    ) -> Entry:
        """The stage's entry: that of an earlier run if it still holds, else what `run` yields.

        before: the entries of all earlier stages. run: returns seconds and outcome. A stage that
        is run again first takes its entry and those of the later ones out: they hold no more.
        """
        upstream = before[-1].fingerprint if before else __version__
        fingerprint = _digest([upstream, stage.name, stage.inputs])
        entry = self._entries.get(stage.name)
        if entry and entry.fingerprint == fingerprint and _stands(stage, entry):
            return entry
        names = list(self._entries)
        if entry:
            for name in names[names.index(stage.name) :]:
                del self._entries[name]
            self._write()
        seconds, outcome = run(stage)
        entry = Entry(fingerprint, round(seconds, 2), outcome, kept=False)
        self._entries[stage.name] = entry
        self._write()
        return entry

    def _read(self) -> dict[str, Entry]:
        try:
            return {
                name: Entry(values["fingerprint"], values["seconds"], values["outcome"])
                for name, values in orjson.loads(self._file.read_bytes()).items()
            }
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return {}  # whatever it was, it says nothing is complete

    def _write(self) -> None:
        entries = {
            name: {
                "fingerprint": entry.fingerprint,
                "seconds": entry.seconds,
                "outcome": entry.outcome,
            }
            for name, entry in self._entries.items()
        }
        replace_file(self._file, orjson.dumps(entries, option=orjson.OPT_INDENT_2))


def _stands(stage: Stage, entry: Entry) -> bool:
    try:
        return stage.stands(entry.outcome)
    except VitrinaError:
        return False


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, default=str)).hexdigest()
