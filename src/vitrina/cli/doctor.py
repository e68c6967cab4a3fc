"""What this installation can do: each part examined, with what to do where something is missing."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import vitrina
from vitrina.cli.installation import EXTRAS
from vitrina.errors import SettingsError, VitrinaError
from vitrina.settings import SETTINGS_FILE, Settings, load_settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. state `open`: not there, which may be as wanted; advice: what to do."""

    subject: str
    state: Literal["ok", "open", "broken"]
    found: str
    advice: str = ""


def examine(config: Path | None) -> list[Finding]:
    """Look at everything; what is broken does not keep the rest from being looked at."""
    findings = [*_machine(), *_extras(), _gpu()]
    try:
        settings = load_settings(config)
    except SettingsError as error:
        return [*findings, Finding("settings", "broken", str(error), "Mend the file, then again.")]
    findings.append(_settings_file(config))
    parts: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("lake", _lake),
        ("bundle", _bundle),
        ("state", _state),
        ("port", _port),
    )
    for subject, look in parts:
        try:
            findings.append(look(settings))
        except VitrinaError as error:
            findings.append(Finding(subject, "broken", str(error)))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            findings.append(Finding(subject, "broken", f"{where}{error.strerror or error}"))
    return findings


def _machine() -> Iterator[Finding]:
    yield Finding("Vitrina", "ok", f"{vitrina.__version__} on Python {platform.python_version()}")
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("machine", "ok", f"{cores} CPU cores, {memory:.1f} GiB of memory")


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, found in versions.items() if found is None]
        if missing:
            yield Finding(
                f"extra {extra}",
                "open",
                f"not installed: {', '.join(missing)}",
                f"To use it: pip install 'vitrina[{extra}]'",
            )
        else:
            found = ", ".join(f"{package} {found}" for package, found in versions.items())
            yield Finding(f"extra {extra}", "ok", found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> Finding:
    """What training would run on. PyTorch knows best, and takes a second or two to say so."""
    try:
        import torch
    except ModuleNotFoundError:
        return Finding("GPU", "open", "unknown without PyTorch", "Serving needs none.")
    except Exception as error:
        return Finding("GPU", "broken", f"PyTorch cannot be loaded: {error}", "Install it again.")
    if torch.cuda.is_available():
        return Finding("GPU", "ok", torch.cuda.get_device_name())
    return Finding("GPU", "open", "none that PyTorch can use", "Training runs on the CPU.")


def _settings_file(config: Path | None) -> Finding:
    file = config or Path(SETTINGS_FILE)
    if file.exists():
        return Finding("settings", "ok", str(file.resolve()))
    return Finding(
        "settings", "open", "no file, so the defaults hold", "'vitrina init' writes one."
    )


def _lake(settings: Settings) -> Finding:
    from vitrina.lake.tables import has_tables, read_report

    lake = settings.paths.lake
    if not has_tables(lake):
        return Finding(
            "lake", "open", f"{lake} holds no tables yet", "'vitrina ingest' makes them."
        )
    report = read_report(lake)
    return Finding(
        "lake",
        "ok",
        f"{report['items']['kept']:,} items, {report['events']['kept']:,} events of "
        f"{report['users']:,} shoppers until {report['last_event'][:10]}",
    )


def _bundle(settings: Settings) -> Finding:
    from vitrina.bundle.bundle import load_bundle
    from vitrina.bundle.registry import Registry

    registry = Registry(settings.paths.bundles)
    current = registry.current()
    if current is None:
        published = len(registry.list())
        return Finding(
            "bundle",
            "open",
            f"none is promoted, {published} published in {registry.root}",
            "'vitrina promote' takes one of them." if published else "'vitrina demo' makes one.",
        )
    bundle = load_bundle(registry.path(current))
    items = f"{bundle.manifest.items:,} items, {bundle.space.dim} dimensions"
    return Finding("bundle", "ok", f"{current}: {items}, every checksum holds")


def _state(settings: Settings) -> Finding:
    from vitrina.settings_sources import hide_passwords
    from vitrina.state.opening import has_state, open_state

    log, file = settings.state.log, settings.paths.state
    if not has_state(settings):
        return Finding(
            "state", "open", f"no {file}", "'vitrina ingest' and 'vitrina serve' make it."
        )
    state = open_state(settings)
    try:
        some = bool(state.shoppers(1))
    finally:
        state.close()
    place = file if log is None else hide_passwords(log)
    return Finding("state", "ok", f"{place} holds {'histories' if some else 'no history yet'}")


def _port(settings: Settings) -> Finding:
    host, port = settings.serve.host, settings.serve.port
    problem = port_problem(host, port)
    if problem is None:
        return Finding("port", "ok", f"{host}:{port} is free")
    return Finding(
        "port",
        "open",
        f"{host}:{port} cannot be listened on ({problem})",
        "If that is not Vitrina serving already: set [serve] port, or 'vitrina serve --port 0'.",
    )


def port_problem(host: str, port: int) -> str | None:
    """Why an address cannot be listened on; None if it can."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None
