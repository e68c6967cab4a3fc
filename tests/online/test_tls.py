"""TLS by two files, and a sentence where they are no certificate and its key."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from served import shop_settings
from vitrina.errors import SettingsError
from vitrina.online.app import create_app
from vitrina.online.server import serve
from vitrina.settings import load_settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for 127.0.0.1, and its key, as settings."""
    folder = tmp_path_factory.mktemp("tls")
    paths = {"tls_certificate": folder / "cert.pem", "tls_key": folder / "key.pem"}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-out", str(paths["tls_certificate"]), "-keyout", str(paths["tls_key"])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def test_answers_are_encrypted_and_browsers_are_told_to_insist(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    settings = shop_settings(tmp_path)
    app = create_app(settings)
    answers: list[httpx.Response] = []
    addresses: list[str] = []

    def ask(address: str) -> None:
        addresses.append(address)

        def call() -> None:
            trusted = ssl.create_default_context(cafile=files["tls_certificate"])
            try:
                answers.append(httpx.get(f"{address}/healthz", verify=trusted, timeout=30))
            finally:
                signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=call).start()

    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        serve(app, settings.serve.model_copy(update=files), ask)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert addresses[0].startswith("https://127.0.0.1:")
    assert answers[0].status_code == 200
    assert "max-age" in answers[0].headers["strict-transport-security"]


def test_files_that_are_no_certificate_are_a_sentence(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    settings = shop_settings(tmp_path)
    swapped = {"tls_certificate": files["tls_key"], "tls_key": files["tls_certificate"]}
    missing = {"tls_certificate": tmp_path / "gone.pem", "tls_key": files["tls_key"]}
    for wrong in (swapped, missing):
        with pytest.raises(SettingsError, match="TLS cannot be spoken with"):
            serve(create_app(settings), settings.serve.model_copy(update=wrong), print)


def test_a_certificate_takes_a_key_and_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "vitrina.toml"
    file.write_text("[serve]\ntls_certificate = 'cert.pem'\n")
    with pytest.raises(SettingsError, match="tls_certificate and tls_key, or neither"):
        load_settings(file, {})
    file.write_text("[serve]\ntls_certificate = 'cert.pem'\ntls_key = 'key.pem'\n")
    assert load_settings(file, {}).serve.tls_key == tmp_path / "key.pem"
