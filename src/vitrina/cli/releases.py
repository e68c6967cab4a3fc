"""Commands around the registry: publish, promote, roll back, list."""

from __future__ import annotations

from typing import Annotated

import typer

from vitrina.cli import stages, tables
from vitrina.cli.console import Config, Json, say, settings_of, show

Reason = Annotated[
    str | None, typer.Option(help="Why; recorded in the registry.", show_default=False)
]


def publish(
    promote: Annotated[
        bool, typer.Option("--promote", help="Promote it as well, if its gates pass.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put the draft bundle, with its evaluation, into the registry.

    Reads the draft and `evaluation.json` in `paths.runs`; an evaluation of another draft is
    refused. Writes one folder to `paths.bundles`, complete or not at all, which never changes
    again. Servers take no notice until it is promoted.

    Example:

        vitrina publish --promote
    """
    from vitrina.bundle.registry import Registry

    settings = settings_of(config)
    version = stages.publish_draft(settings)
    if promote:
        Registry(settings.paths.bundles).promote(version)
    content = {"version": version, "promoted": promote}
    show(content, as_json, f"Published {version}{' and promoted it' if promote else ''}.")
    if not promote:
        say(f"Serve it with 'vitrina promote {version}'.")


def promote(
    version: Annotated[str, typer.Argument(help="As 'vitrina bundles' lists it.")],
    reason: Reason = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if a gate failed; needs a --reason."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a published bundle the current one; running servers swap to it by themselves.

    Reads and verifies the bundle: a damaged one is refused, one that failed its gates too.
    Writes the registry's pointer, `current.json` in `paths.bundles`, in one step.

    Example:

        vitrina promote 20260105T090000-3f2a --reason "better on new items"
    """
    from vitrina.bundle.registry import Registry

    registry = Registry(settings_of(config).paths.bundles)
    registry.promote(version, reason, force)
    show({"current": registry.current()}, as_json, f"{version} is the current bundle.")


def rollback(reason: Reason = None, config: Config = None, as_json: Json = False) -> None:
    """Return to the bundle that was current before this one.

    Reads and verifies that bundle; writes the registry's pointer in one step. Rolling back again
    goes one further.

    Example:

        vitrina rollback --reason "conversion fell"
    """
    from vitrina.bundle.registry import Registry

    version = Registry(settings_of(config).paths.bundles).rollback(reason)
    show({"current": version}, as_json, f"{version} is the current bundle again.")


def shadow(
    version: Annotated[
        str | None, typer.Argument(help="As 'vitrina bundles' lists it.", show_default=False)
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the requests it answers, too.")
    ] = 0.1,
    end: Annotated[bool, typer.Option("--end", help="Let no bundle answer any more.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a bundle answer beside the current one, unseen, and count how the answers differ.

    Reads and verifies the bundle; writes `shadow.json` in `paths.bundles`, which running servers
    follow by themselves. They repeat a share of the requests with it; how many of the items
    shown it would show, too, is in /metrics (`vitrina_shadow_overlap`), and so are its times and
    failures. Servers hold both bundles in memory meanwhile. Without arguments: what is so now.

    Example:

        vitrina shadow 20260112T090000-77b1 --share 0.05
    """
    from vitrina.bundle.registry import Registry

    registry = Registry(settings_of(config).paths.bundles)
    if end:
        registry.end_shadow()
    elif version is not None:
        registry.shadow(version, share)
    release = registry.shadow_release()
    if release is None:
        text = "No bundle answers in the shadow."
    else:
        text = f"{release.version} answers {release.share:.0%} of the requests in the shadow."
    show(release, as_json, text)


def bundles(config: Config = None, as_json: Json = False) -> None:
    """List the published bundles, oldest first, with what one chooses by.

    Reads `paths.bundles`; writes nothing. A bundle whose manifest cannot be read is listed with
    its problem.

    Example:

        vitrina bundles --json
    """
    from vitrina.bundle.registry import Registry

    registry = Registry(settings_of(config).paths.bundles)
    summaries = registry.list()
    if summaries or as_json:
        show(summaries, as_json, tables.bundles(summaries))
    else:
        say(f"{registry.root} holds no bundle yet. 'vitrina publish' adds one.")
