"""How a running server is: asked over HTTP, as its clients see it."""

from __future__ import annotations

import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

import vitrina
from vitrina.cli.doctor import Finding
from vitrina.errors import SettingsError

TIMEOUT_SECONDS: Final = 10.0
ASKED: Final = 5
"""Times that it is asked for the latency."""
SKEW_SECONDS: Final = 60.0
"""Clocks that differ by more are worth mending: servers refuse events 5 minutes ahead of theirs."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Message
    body: bytes
    seconds: float


def examine_server(url: str, key: str | None) -> list[Finding]:
    """Look at the server at `url`. key: an API key with the scope admin, if it has keys.

    Raises SettingsError for what is no address of the web.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(f"'{url}' is no address such as https://recommend.shop.example.")
    return list(_findings(_Server(url.rstrip("/"), key)))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer: followed, it would get the API key, wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


class _Server:
    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> _Answer:
        """The answer to a GET, whatever its status. Raises OSError when there is none."""
        request = urllib.request.Request(self.url + path, headers=self._headers)  # noqa: S310
        started = time.perf_counter()
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
                status, headers, body = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, headers, body = error.code, error.headers, error.read()
        return _Answer(status, headers, body, time.perf_counter() - started)


def _findings(server: _Server) -> Iterator[Finding]:
    try:
        alive = [server.get("/healthz") for _ in range(ASKED)]
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        yield Finding(
            "server",
            "broken",
            f"{server.url} does not answer: {reason}",
            "Is 'vitrina serve' running there, and may this machine reach it?",
        )
        return
    if alive[0].status != 200:
        yield Finding("server", "broken", f"{server.url} answers {alive[0].status}", _who())
        return
    yield Finding("server", "ok", f"{server.url} answers in {_milliseconds(alive)}")
    yield _clock(alive[-1])
    yield from _readiness(server)
    yield from _recommendation(server)
    yield from _counters(server)


def _who() -> str:
    return "Something else may be listening there, or a proxy before it may be set up wrongly."


def _milliseconds(answers: list[_Answer]) -> str:
    return f"{statistics.median(answer.seconds for answer in answers) * 1e3:.1f} ms"


def _clock(answer: _Answer) -> Finding:
    """Clock skew, by the Date header, which is up to a second old."""
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (TypeError, ValueError):
        return Finding("clock", "open", "the server does not say what time it is")
    ahead = theirs + 0.5 - (time.time() - answer.seconds / 2)
    if abs(ahead) <= SKEW_SECONDS:
        return Finding("clock", "ok", f"within {max(1, round(abs(ahead)))} s of this machine's")
    direction = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        "broken",
        f"{abs(ahead):,.0f} s {direction} this machine's",
        "Set both by NTP: a server refuses events from more than 5 minutes after its own time.",
    )


def _readiness(server: _Server) -> Iterator[Finding]:
    answer = server.get("/readyz")
    try:
        content: dict[str, Any] = orjson.loads(answer.body)
        status, bundle, problem = content["status"], content["bundle"], content["problem"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        yield Finding("bundle", "broken", f"/readyz answers {answer.status}, no JSON", _who())
        return
    if bundle is None:
        yield Finding("bundle", "broken", f"{status}: no bundle serves", problem or "")
    elif problem:
        yield Finding("bundle", "broken", f"{bundle} serves, but not the one promoted", problem)
    else:
        yield Finding("bundle", "ok" if answer.status == 200 else "open", f"{bundle}: {status}")
    tripped = [part for part, state in content.get("breakers", {}).items() if state != "closed"]
    if tripped:
        yield Finding("parts", "broken", f"left out: {', '.join(tripped)}", "Its log says why.")


def _recommendation(server: _Server) -> Iterator[Finding]:
    answers = [server.get("/v1/recommendations?k=10") for _ in range(ASKED)]
    last = answers[-1]
    if last.status in (401, 403):
        yield Finding("recommendations", "open", "it wants an API key", "Give it one: --key KEY.")
    elif last.status != 200:
        detail = orjson.loads(last.body).get("detail", "") if last.body[:1] == b"{" else ""
        yield Finding("recommendations", "broken", f"it answers {last.status}", detail)
    else:
        content = orjson.loads(last.body)
        degraded = content["degraded"]
        found = f"{len(content['items'])} items, {_milliseconds(answers)}"
        yield Finding("recommendations", "broken" if degraded else "ok", found, "; ".join(degraded))


def _counters(server: _Server) -> Iterator[Finding]:
    from prometheus_client.parser import text_string_to_metric_families

    answer = server.get("/metrics")
    if answer.status != 200:
        yield Finding(
            "counters",
            "open",
            f"/metrics answers {answer.status}",
            "It takes a key with the scope admin (--key), or has a port of its own "
            "([serve] admin_port).",
        )
        return
    totals: dict[str, float] = {}
    version, degraded = "", {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            if sample.name == "vitrina_build_info":
                version = sample.labels["version"]
            elif sample.name == "vitrina_degraded_total" and sample.value:
                degraded[sample.labels["stage"]] = sample.value
            elif sample.name.endswith("_total"):
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    same = version == vitrina.__version__
    yield Finding(
        "version",
        "ok" if same else "open",
        f"Vitrina {version or 'unknown'}",
        "" if same else f"This one is {vitrina.__version__}.",
    )
    served = totals.get("vitrina_served_total", 0.0)
    put_off = totals.get("vitrina_put_off_total", 0.0)
    yield Finding(
        "counters",
        "ok",
        f"{served:,.0f} recommendations, {totals.get('vitrina_events_total', 0.0):,.0f} events, "
        f"{put_off:,.0f} requests put off since it was started",
    )
    if degraded:
        stages = ", ".join(f"{stage} {count:,.0f}" for stage, count in sorted(degraded.items()))
        yield Finding("degraded", "open", f"answered by a fallback: {stages}", "Its log says why.")
