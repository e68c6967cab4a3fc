"""One look at the real server: it starts, recommends, takes an event, and answers differently."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from vitrina.cli.console import reporting
from vitrina.errors import BundleError, VitrinaError

K: Final = 10
TIMEOUT_SECONDS: Final = 30.0


def ask(config: Path) -> dict[str, Any]:
    """Start a server, ask it for a shopper's discoveries before and after one view, end it.

    Returns the shopper, both lists of item ids, the item viewed, how many of the second list
    the first did not have, and the seconds until the server was ready. Raises VitrinaError when
    the server does not start, or the event changes nothing.
    """
    with reporting("Asking") as report:
        report(None, "starting a server")
        started = time.perf_counter()
        with _server(config) as address:
            ready_seconds = round(time.perf_counter() - started, 2)
            shopper = _some_shopper(config)
            before = _recommended(address, shopper)
            viewed = before[0]
            _post(f"{address}/v1/events", _view(address, shopper, viewed))
            after = _recommended(address, shopper)
    if after == before:
        raise VitrinaError(
            f"Shopper {shopper} viewed {viewed}, but was recommended the same {len(after)} items "
            f"as before. An event has to change the next answer: please report this."
        )
    return {
        "ready_seconds": ready_seconds,
        "shopper": shopper,
        "viewed": viewed,
        "before": before,
        "after": after,
        "changed": len(set(after) - set(before)),
    }


@contextmanager
def _server(config: Path) -> Iterator[str]:
    """A server in a process of its own, on a free port; yields its address."""
    command = [sys.executable, "-m", "vitrina", "serve", "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, b"")
        text = b""
        for line in lines:  # the JSON object ends with the first line that is a brace alone
            text += line
            if line == b"}\n":
                break
        if not text:
            _, problem = process.communicate()
            raise BundleError(f"The server did not start. {problem.decode().strip()}")
        yield json.loads(text)["address"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def _some_shopper(config: Path) -> str:
    """The first shopper with a history."""
    from vitrina.settings import load_settings
    from vitrina.state.opening import open_state

    state = open_state(load_settings(config))
    try:
        shoppers = state.shoppers(1)
    finally:
        state.close()
    if not shoppers:
        raise VitrinaError("No shopper has a history. Run 'vitrina demo --smoke --fresh'.")
    return shoppers[0]


def _recommended(address: str, shopper: str) -> list[str]:
    query = urlencode({"user_id": shopper, "shelf": "discover", "k": K})
    answer = _get(f"{address}/v1/recommendations?{query}")
    return [item["item_id"] for item in answer["items"]]


def _view(address: str, shopper: str, item_id: str) -> dict[str, str]:
    """A view a minute after the shopper's last event: the data's time, not ours."""
    history = _get(f"{address}/v1/users/{quote(shopper)}/history?limit=1")
    last = datetime.fromisoformat(history["events"][0]["timestamp"])
    moment = (last + timedelta(minutes=1)).isoformat()
    return {"user_id": shopper, "item_id": item_id, "event_type": "view", "timestamp": moment}


def _get(url: str) -> Any:
    # Patient: what is looked at is what the towers say, however busy the machine is.
    headers = {"Deadline-Ms": str(1000 * TIMEOUT_SECONDS)}
    return _call(urllib.request.Request(url, headers=headers))  # noqa: S310 (started above)


def _post(url: str, content: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    body = json.dumps(content).encode()
    return _call(urllib.request.Request(url, body, headers))  # noqa: S310


def _call(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        detail = error.read().decode(errors="replace")
        raise VitrinaError(f"{request.full_url} answered {error.code}: {detail}") from error
    except OSError as error:
        raise VitrinaError(f"{request.full_url} did not answer: {error}") from error
