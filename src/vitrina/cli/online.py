"""Commands of the online side: serve, and ask without a server. None needs the training stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitrina.cli import tables
from vitrina.cli.console import Config, Json, print_json, reporting, say, settings_of, show
from vitrina.errors import BundleError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from vitrina.online.recommender import Recommender
    from vitrina.settings import Settings

Count = Annotated[int, typer.Option("--k", "-k", min=1, max=100, help="How many items.")]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="serve.host")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 picks a free one.", show_default="serve.port"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes on the port.", show_default="serve.workers"),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Serve the promoted bundle: the HTTP service, and the page at its address.

    Reads the current bundle in `paths.bundles`, and swaps when another is promoted. Writes the
    events it is sent to `state.log`, or else to `paths.state`, each on disk before it is
    acknowledged. As long as no API key has been made ('vitrina keys make'), it is open, and listens
    on this machine only.

    A worker that dies or hangs is replaced, and requests wait for that; several share the port and
    the bundle's memory. SIGTERM and Ctrl-C end it when the requests in flight are answered.

    Example:

        vitrina serve --port 9000 --workers 4
    """
    from vitrina.online.access import require_keys_beyond_loopback
    from vitrina.online.logs import configure_logging
    from vitrina.online.workers import Ready, Supervisor

    settings = settings_of(config)
    given = {"host": host, "port": port, "workers": workers}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = settings.model_copy(update={"serve": settings.serve.model_copy(update=changes)})
    require_keys_beyond_loopback(settings)
    configure_logging(settings.serve.log_format)

    def on_ready(address: str, ready: Ready) -> None:
        if as_json:
            print_json({"address": address, "bundle": ready.bundle})
        else:
            show(None, False, f"{address}/")
            say("Ctrl-C ends it. The service's own documentation is at /docs.")
        if ready.problem:
            say(ready.problem, "yellow")

    Supervisor(settings, application).run(on_ready)
    say("Stopped; every acknowledged event is on disk.")


def application(settings: Settings) -> FastAPI:
    """The service and its page, as each serving process makes them."""
    from vitrina.online.app import create_app
    from vitrina.online.logs import configure_logging
    from vitrina.studio.app import mount_studio

    configure_logging(settings.serve.log_format)
    app = create_app(settings)
    mount_studio(app)
    return app


def recommend(
    user: Annotated[
        str | None, typer.Option(help="The shopper's id.", show_default="somebody new")
    ] = None,
    shelf: Annotated[
        Literal["for_you", "discover", "buy_again"],
        typer.Option(help="discover: nothing seen before; buy_again: purchases; for_you: both."),
    ] = "for_you",
    k: Count = 10,
    users: Annotated[
        Path | None,
        typer.Option(
            help="Shoppers: a Parquet file with a column user_id, or a text with one id a line.",
            dir_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --users: the Parquet file to write.", dir_okay=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Recommend items to a shopper, or to each of a file of them, as the server would.

    Reads the current bundle in `paths.bundles`, the changes to the catalog in `paths.catalog` and
    the shoppers' histories in `paths.state`; writes nothing but the file --out: a row for each
    shopper and position, complete or not at all.

    Example:

        vitrina recommend --user 1024 --shelf discover
        vitrina recommend --users shoppers.txt --out recommendations.parquet --k 20
    """
    import orjson

    from vitrina.cli.recommend_all import recommend_all
    from vitrina.online.recommender import Request

    if (users is None) != (out is None) or (users is not None and user is not None):
        raise typer.BadParameter("--users and --out go together, and without --user.")
    settings = settings_of(config)
    if users is not None and out is not None:
        with reporting("Recommending") as report:
            recommender = _recommender(settings)
            done = recommend_all(
                recommender,
                users,
                out,
                shelf,
                k,
                lambda done, total: report(done / total if total else None, f"{done:,} shoppers"),
            )
        bundle = recommender.bundle.manifest.version
        show({"users": done, "out": out, "bundle": bundle}, as_json, f"{out}: {done:,} shoppers")
        return
    request = Request(key=user, user_id=user, shelf=shelf, k=k)
    answer = orjson.loads(_recommender(settings).recommend(request).to_json())
    show(answer, as_json, tables.items(f"{shelf} for {user or 'somebody new'}", answer["items"]))
    if message := answer.get("message"):
        say(message)
    say(
        f"served by {answer['served_by']} · bundle {answer['bundle']} · "
        f"{answer['timings_ms']['total']:.2f} ms"
    )
    for reason in answer["degraded"]:
        say(f"degraded: {reason}", "yellow")


def similar(
    item_id: Annotated[str, typer.Argument(help="The item to start from.")],
    k: Count = 10,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the available items nearest to one in the embedding space.

    Reads the current bundle in `paths.bundles`; writes nothing.

    Example:

        vitrina similar 1082185 --k 5
    """
    import orjson

    recommender = _recommender(settings_of(config))
    bundle = recommender.bundle
    row = bundle.row_of_item.get(item_id)
    if row is None or not bundle.catalog.row_listed(row):
        raise BundleError(
            f"Bundle {bundle.manifest.version} has no item '{item_id}'. It has "
            f"{len(bundle.item_ids):,} items, such as '{bundle.item_ids[0]}'."
        )
    fragments, stages = recommender.similar(row, k)
    content = {
        "item_id": item_id,
        "bundle": bundle.manifest.version,
        "degraded": stages.degraded,
        "items": orjson.loads(orjson.dumps(fragments)),
    }
    title = f"Near {bundle.catalog.item(row).title or item_id}"
    show(content, as_json, tables.items(title, content["items"]))


def _recommender(settings: Settings) -> Recommender:
    """The current bundle over the stored histories. Raises BundleError if none is promoted."""
    from vitrina.bundle.amend import amend
    from vitrina.bundle.bundle import load_bundle
    from vitrina.bundle.registry import Registry
    from vitrina.online.recommender import Recommender
    from vitrina.state.opening import has_state, open_catalog_changes, open_state
    from vitrina.state.sqlite import SqliteState

    registry = Registry(settings.paths.bundles)
    version = registry.current()
    if version is None:
        raise BundleError(
            f"No bundle in {registry.root} has been promoted. Make one with 'vitrina demo', or "
            f"train, 'vitrina publish' and 'vitrina promote' your own."
        )
    # Asking is no reason to make a file: without one, nobody has a history.
    histories = open_state(settings) if has_state(settings) else SqliteState(None)
    changes = open_catalog_changes(settings)
    bundle = amend(load_bundle(registry.path(version)), changes.after(0))
    changes.close()
    return Recommender(bundle, histories, None, settings.serve)
