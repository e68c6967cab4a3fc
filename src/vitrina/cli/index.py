"""The index of the draft: `vitrina index`, `vitrina index tune`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vitrina.cli import stages, tables
from vitrina.cli.console import Config, Json, say, settings_of, show

commands = typer.Typer(
    invoke_without_command=True, context_settings={"help_option_names": ["--help", "-h"]}
)


@commands.callback()
def index(ctx: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Embed the catalog, build the vector index, fit the ranking: a draft bundle.

    Reads the trained towers and the lake. Writes the folder `draft` in `paths.runs`, in place of
    an older draft. The index is of the kind that `[index]` says, and its recall against exact
    search is measured.

    Example:

        vitrina index && vitrina evaluate
    """
    from vitrina.bundle.manifest import read_manifest

    if ctx.invoked_subcommand is not None:
        if config is not None or as_json:
            raise typer.BadParameter(f"Give options after '{ctx.invoked_subcommand}'.", ctx)
        return
    folder = stages.assemble(settings_of(config))
    manifest = read_manifest(folder)
    content = {
        "version": manifest.version,
        "folder": str(folder),
        "items": manifest.items,
        "dim": manifest.space.dim,
        "index": manifest.index.kind,
        "recall_at_500": manifest.index.recall_at_500,
    }
    show(content, as_json, tables.facts("Draft bundle", content))


@commands.command()
def tune(
    recall: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Share of what exact search finds that the index must find.",
            show_default="index.recall_target",
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="Neighbours a search asks for.")] = 500,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give the draft the index that answers fastest and keeps a promised recall.

    Builds every kind of index there is, ScaNN's if the extra `scann` is installed, and measures
    each with the vectors of the shop's own shoppers: recall@k against exact search, the time of one
    query in one thread, the size of its file. Takes minutes for each million of items.

    Writes the draft in `paths.runs` anew, as another version, with the chosen index, all that was
    measured (`index_tuning.json`) and a picture of it (`index_tuning.svg`). 'vitrina promote'
    refuses a bundle whose index is below the promise. To have an index of the same kind next time,
    put what is printed at the end into `vitrina.toml`.

    Example:

        vitrina index tune --recall 0.98 --k 500 && vitrina evaluate
    """
    settings = settings_of(config)
    target = settings.index.recall_target if recall is None else recall
    found = stages.retune(settings, target=target, k=k)
    tuned = found.tuned
    content: dict[str, Any] = {
        "version": found.version,
        "users": found.users,
        "k": k,
        "recall_target": target,
        "chosen": tuned.chosen,
        "measured": tuned.measured,
        "left_out": tuned.left_out,
    }
    show(content, as_json, *tables.index_tuning(tuned, target, k))
    for reason in tuned.left_out:
        say(f"Left out: {reason}", "yellow")
