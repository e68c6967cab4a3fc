"""`vitrina demo`: stopped, taken up again, complete, and not done twice."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from cli.cli_shop import finish, start

QUICK = {
    "VITRINA_TRAIN__STEPS": "2",
    "VITRINA_TRAIN__DIM": "16",
    "VITRINA_TRAIN__ENCODER": "mlp",
    "VITRINA_EVALUATE__BOOTSTRAP_SAMPLES": "100",
}
"""Settings with which every stage is done, and none done well."""


@pytest.mark.slow
def test_a_smoke_run_can_be_stopped_and_ends_with_an_answer_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    command = ("demo", "--smoke", "--json")
    process = start(tmp_path, *command)
    assert process.stderr is not None
    for line in process.stderr:
        if "✓ data" in line:
            break
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.code == 130
    assert "'vitrina demo --smoke' picks up where it was" in stopped.err
    assert "Traceback" not in stopped.err
    assert stopped.out == ""

    complete = finish(start(tmp_path, *command))
    assert complete.code == 0, complete.err
    assert "· data" in complete.err, "what was complete is not done again"
    assert "✓ publish" in complete.err
    assert "leaked" not in complete.err
    answer = complete.json["answer"]
    assert answer["viewed"] == answer["before"][0]
    assert answer["viewed"] not in answer["after"]
    assert complete.json["evaluation"]["bundle"] == complete.json["bundle"]
    assert [path.name for path in tmp_path.iterdir()] == ["vitrina-demo-smoke"]

    again = finish(start(tmp_path, "demo", "--smoke"))
    assert again.code == 0
    assert "✓" not in again.err
    assert "Serve the page: vitrina serve --config vitrina-demo-smoke/vitrina.toml" in again.out


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "vitrina.toml").write_text("# my shop\n")
    result = finish(start(tmp_path, "demo", "--fresh", "--dir", "mine"))
    assert result.code == 1
    assert "Name another folder with --dir" in result.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["vitrina.toml"]


def test_a_port_that_is_taken_is_told_before_the_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = finish(start(tmp_path, "demo", "--port", port))
    assert result.code == 1
    assert f"127.0.0.1:{port} (Address already in use)" in result.err
    assert "vitrina demo --port 0" in result.err
    assert not (tmp_path / "vitrina-demo" / "input").exists()


def test_settings_that_no_longer_fit_name_the_way_out(tmp_path: Path) -> None:
    home = tmp_path / "vitrina-demo"
    home.mkdir()
    (home / "demo.json").write_text("{}")
    (home / "vitrina.toml").write_text("[train]\nminutes = 3.5\n")
    result = finish(start(tmp_path, "demo", "--no-serve"))
    assert result.code == 1
    assert "'train.minutes'" in result.err
    assert "'vitrina demo --fresh' writes the file anew" in result.err
