"""Spark finds a Java, or the error says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitrina.errors import MissingExtra
from vitrina.lake.engine import java


def fake_java(home: Path, version: str) -> Path:
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    binary.chmod(0o755)
    return home


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any Java but the wheel's."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'none'}:/bin:/usr/bin")
    monkeypatch.setattr(java.shutil, "which", lambda name: None)
    return monkeypatch


def test_java_home_comes_first(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "17", "17.0.2")
    bare.setenv("JAVA_HOME", str(home))
    assert java.java_home() == home


@pytest.mark.parametrize("version", ["1.8.0_412", "11.0.2"])
def test_a_java_that_is_too_old_is_passed_over(
    bare: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    bare.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", version)))
    newer = fake_java(tmp_path / "new", "21.0.1")
    bare.setattr(java.shutil, "which", lambda name: str(newer / "bin" / "java"))
    assert java.java_home() == newer


def test_the_java_of_the_wheel_runs_where_there_is_no_other(bare: pytest.MonkeyPatch) -> None:
    home = java.java_home()
    told = subprocess.run(
        [home / "bin" / "java", "--add-modules=jdk.incubator.vector", "-version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "21." in told.stderr


def test_a_machine_without_any_java_is_told_what_to_install(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare.setenv("JAVA_HOME", str(fake_java(tmp_path, "11.0.2")))
    bare.setattr(java, "_wheel_home", lambda: None)
    with pytest.raises(MissingExtra, match=r"Java 17 or newer.*has Java 11.*vitrina\[spark\]"):
        java.java_home()


def test_spark_that_is_not_installed_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pyspark'] = None\n"
        "from vitrina.lake.engine import open_engine\n"
        "from vitrina.settings import LakeSettings, Settings\n"
        "open_engine(Settings(lake=LakeSettings(engine='spark')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert "MissingExtra: The package 'pyspark' is not installed" in done.stderr
