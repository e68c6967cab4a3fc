"""Events that nothing is wrong with but that the catalog lacks their item.

They are in quarantine, and kept here as checked rows besides (`waiting.parquet`): when a later
catalog has the item they are taken up, without their files being read again. A catalog that grows
every day costs no full run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import narwhals as nw

from vitrina.lake.clean import COLUMN, REASON
from vitrina.lake.codes import ITEM, KIND, Names
from vitrina.lake.contract import UNKNOWN_ITEM
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.quarantine import USABLE, CheckedTable
from vitrina.lake.readers.raw import FILE, InputFile
from vitrina.lake.tables import scan_stored


@dataclass(frozen=True, slots=True)
class Settled:
    """What one run has to say about events: those it read, and those it took up.

    checked: both, with `_file` as the place of a file among all files of the lake. taken: FILE
    and ROW of those taken up. waiting: the rows of waiting.parquet from now on.
    """

    checked: CheckedTable
    taken: Frame
    waiting: Frame


def settle(
    engine: Engine,
    checked: CheckedTable,
    addresses: Sequence[str],
    before: int,
    names: Names,
    last: Path | None,
) -> Settled:
    """Number the files of `checked` as the lake does, and take up waiting events.

    addresses: of all files of the lake, those of `checked` behind `before` others. names: those of
    the catalog. last: the folder of the set that is built on; None if all files were read.
    """
    number = nw.col(FILE) + before
    rows, noted = checked.rows.with_columns(number), checked.noted.with_columns(number)
    rejected = checked.raw.rejected.with_columns(number)
    waiting = noted.filter(nw.col(REASON) == UNKNOWN_ITEM).drop(ITEM, KIND)
    taken = waiting.head(0)
    if last is not None:
        earlier = scan_stored(engine, last, "waiting")
        taken = engine.persist(earlier.join(names.items, on="item_id", how="semi"))
        waiting = nw.concat([earlier.join(names.items, on="item_id", how="anti"), waiting])
        nothing = nw.lit(None, nw.String)
        fit = names.encode(taken).with_columns(
            nothing.alias(REASON), nothing.alias(COLUMN), nw.lit(True).alias(USABLE)
        )
        rows = nw.concat([rows, fit.select(*rows.collect_schema())])
        noted = nw.concat([noted, fit.select(*noted.collect_schema())])
    files = [InputFile(address, 0, address) for address in addresses]
    raw = replace(checked.raw, files=files, rejected=rejected)
    return Settled(
        replace(checked, raw=raw, rows=rows, noted=noted), taken.select(FILE, ROW), waiting
    )
