"""The audit as people read it."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

CLEAN: Final = "same"
LEAKS: Final = "LEAKS"


def audit_tables(content: dict[str, Any]) -> Group:
    """What was compared, line by line; what leaks; what the audit cannot see.

    content: `Audit.to_json()`.
    """
    table = Table(
        title=f"Moment of prediction {content['at'][:16].replace('T', ' ')} UTC: "
        f"{content['events_before']:,} events before it, {content['events_after']:,} after",
        title_justify="left",
        title_style="bold",
        caption="difference: the largest between two numbers, or how many are wrong. Of the\n"
        "catalog's columns: what the future explains of what the past leaves open.",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("what", no_wrap=True)
    table.add_column("compared with")
    table.add_column("numbers", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for check in content["checks"]:
        table.add_row(
            Text(check["subject"]),
            check["against"],
            f"{check['numbers']:,}",
            "other shape" if check["difference"] is None else f"{check['difference']:.3g}",
            Text(LEAKS, style="bold red") if check["leaks"] else Text(CLEAN, style="green"),
        )
    found = [
        Text.assemble((f"{check['subject']} ({check['against']}): ", "red"), check["sentence"])
        for check in content["checks"]
        if check["leaks"]
    ]
    notes = [Text(note, style="dim") for note in content["notes"]]
    return Group(table, *found, *notes)
