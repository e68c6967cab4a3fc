"""The sections of `vitrina.toml`: one a class, one documented field a key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vitrina.schema import DEFAULT_EVENT_WEIGHTS, IMPRESSION, PURPOSES, Purpose
from vitrina.settings_sources import Source, checked_sources

_SCHEMES = {"log": ("postgresql://", "postgres://"), "redis": ("redis://", "rediss://", "unix://")}


class Section(BaseModel):
    """A table of `vitrina.toml`. Unknown keys are errors: a typo must not pass for a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PathSettings(Section):
    """Where things live. Relative paths start at the folder of `vitrina.toml`."""

    lake: Path = Field(Path("data/lake"), description="Parquet tables: items, events, quarantine.")
    bundles: Path = Field(Path("data/bundles"), description="The registry: one folder a bundle.")
    runs: Path = Field(Path("data/runs"), description="Training runs: checkpoints and weights.")
    catalog: Path = Field(
        Path("data/catalog.sqlite"),
        description="Changes to the catalog that the server was sent, until a bundle holds them; "
        "with `state.log` they are kept there.",
    )
    state: Path = Field(
        Path("data/state.sqlite"), description="The event log and the shoppers' histories."
    )
    keys: Path = Field(
        Path("data/keys.json"), description="The API keys, hashed; 'vitrina keys' writes it."
    )


class StateSettings(Section):
    """Where events and histories are kept: in the file `paths.state`, unless servers share them."""

    log: str | None = Field(
        None,
        description="postgresql://…: the event log, histories and identities, for any number of "
        "servers. A password is better left to PGPASSWORD or ~/.pgpass.",
    )
    redis: str | None = Field(
        None,
        description="redis://…: copies of histories, so that PostgreSQL is asked for each "
        "shopper but once an hour, and user vectors for all processes. Needs `log`.",
    )

    @field_validator("log", "redis")
    @classmethod
    def _an_address(cls, address: str | None, info: ValidationInfo) -> str | None:
        schemes = _SCHEMES[str(info.field_name)]
        if address is not None and not address.startswith(schemes):
            raise ValueError(f"takes an address that begins with {' or '.join(schemes)}")
        return address

    @model_validator(mode="after")
    def _redis_has_a_source(self) -> Self:
        if self.redis is not None and self.log is None:
            raise ValueError("'redis' holds copies of what 'log' holds: name a log, too")
        return self


class LakeSettings(Section):
    """What is read and how it is cleaned."""

    items: list[Source] = Field(
        default_factory=list,
        description="The catalog: addresses of files, folders or globs, or [[lake.items]] tables "
        "that say what their columns are.",
    )
    events: list[Source] = Field(
        default_factory=list,
        description="The events: addresses of files, folders or globs, or [[lake.events]] tables.",
    )
    engine: Literal["duckdb", "spark"] = Field(
        "duckdb", description="What computes the tables; both make the same ones."
    )
    memory_gb: float = Field(
        2.5,
        ge=0.5,
        description="Memory of DuckDB, and of a Spark driver that runs here; more spills to disk.",
    )
    session_gap_minutes: int = Field(
        30, ge=1, description="A pause longer than this starts a new session."
    )
    max_text_chars: int = Field(
        20_000, ge=100, description="Titles and descriptions are cut to this many characters."
    )

    @field_validator("items", "events")
    @classmethod
    def _maps_fit(cls, sources: list[Source], info: ValidationInfo) -> list[Source]:
        return checked_sources(str(info.field_name), sources)


class SparkSettings(Section):
    """Where Spark runs as the lake's engine: on this machine, unless one of these is set."""

    master: str | None = Field(
        None,
        description="A cluster (spark://host:7077, yarn, k8s://…), or local[4]: 4 threads here.",
    )
    remote: str | None = Field(None, description="A Spark Connect server: sc://host:15002.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.master is not None and self.remote is not None:
            raise ValueError("takes a master or a remote, not both")
        return self


class EventSettings(Section):
    """The event types of the shop."""

    weights: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_EVENT_WEIGHTS),
        description="Each known event type and its weight in training; other types are refused.",
    )
    purposes: list[Purpose] = Field(
        default_factory=lambda: list(PURPOSES),
        description="What a person is taken to have agreed to, for events that do not say it.",
    )

    @field_validator("weights")
    @classmethod
    def _done_by_shoppers(cls, weights: dict[str, float]) -> dict[str, float]:
        if IMPRESSION in weights:
            raise ValueError(
                f"cannot have '{IMPRESSION}': every shop has it, and nothing is learnt from it; "
                "name a view of an item 'view'"
            )
        return weights


class TrainSettings(Section):
    """The towers and their training."""

    dim: int = Field(64, ge=8, le=1024, description="Length of item and user vectors.")
    matryoshka: list[int] = Field(
        default_factory=list,
        description="Lengths below `dim`; vectors are trained to serve when cut to them, too.",
    )
    max_history: int = Field(100, ge=2, le=1000, description="Events the user tower sees, at most.")
    objective: Literal["discoveries", "next_item"] = Field(
        "discoveries",
        description="What is learnt: discoveries of the two weeks after a moment (goods with "
        "seasons, goods bought again and again), or the next item of each sequence.",
    )
    encoder: Literal["transformer", "mlp"] = Field(
        "transformer", description="The user tower: a causal transformer, or an MLP on averages."
    )
    blocks: int = Field(1, ge=1, le=8, description="Transformer blocks of the user tower.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of numbers hidden in training.")
    history_dropout: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of a history's events hidden in training, in the mean. Default: 0.6 for "
        "discoveries, 0 for next_item.",
    )
    id_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of item ids hidden in training, for items without any."
    )
    steps: int = Field(1000, ge=1, description="Training steps; the learning rate falls to 0.")
    batch_events: int = Field(
        2048, ge=16, description="next_item: events to be predicted in a step, about."
    )
    negatives: int | None = Field(
        None,
        ge=0,
        description="next_item: items drawn evenly that each step's targets are told from, beside "
        "each other; 0: all items. Default: all up to 50,000 items, 4,096 of more.",
    )
    log_q: Literal["none", "classic", "refined"] = Field(
        "refined",
        description="next_item with drawn negatives: the correction for how often one is drawn.",
    )
    subsample: float = Field(
        1.0,
        gt=0,
        le=1,
        description="next_item: events of items with a larger share of all events than this count "
        "less, so that less popular items are shown; 1: all alike.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Largest step size of AdamW.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    validation_every: int | None = Field(
        None,
        ge=0,
        description="Steps from one look at retrieval for a few held-out shoppers to the next; "
        "the best weights are kept. 0: none. Default: 100 with next_item, 0 with discoveries.",
    )
    patience: int = Field(
        5, ge=1, description="Looks in a row without a new best that end the training."
    )
    checkpoint_minutes: float = Field(1.0, gt=0, description="Time between two checkpoints.")
    seed: int = Field(0, ge=0, description="Seed of initialisation and sampling.")

    @field_validator("matryoshka")
    @classmethod
    def _shorter_than_dim(cls, lengths: list[int], info: ValidationInfo) -> list[int]:
        dim = info.data.get("dim", 0)
        if any(not 1 <= length < dim for length in lengths) or len(set(lengths)) < len(lengths):
            raise ValueError(
                f"takes lengths from 1 to {dim - 1}, 'dim' being {dim}, each once; not {lengths}"
            )
        return lengths


class IndexSettings(Section):
    """The vector index."""

    kind: Literal[
        "auto", "exact", "ivf", "ivf_flat", "ivf_sq8", "ivf_pq", "rabitq", "hnsw", "scann"
    ] = Field(
        "auto",
        description="auto: exact up to `exact_below` items, `ivf` (inverted lists) above. 'vitrina "
        "index tune' says which one is the fastest; scann takes the extra `scann`.",
    )
    exact_below: int = Field(50_000, ge=0, description="Largest catalog that auto scans exactly.")
    recall_target: float = Field(
        0.99, gt=0, le=1, description="recall@500 against exact search that the index must reach."
    )


class EvaluateSettings(Section):
    """The global-time split: everything before `cut` trains, the days after it test."""

    cut: datetime | None = Field(
        None, description="Moment of prediction (UTC). Default: `test_days` before the last event."
    )
    test_days: int = Field(14, ge=1, description="Days after the cut that are predicted.")
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples for 95 % intervals.")


class ServeSettings(Section):
    """The online service."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; one that other machines reach takes API keys.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    otlp_endpoint: str | None = Field(
        None,
        description="Where OpenTelemetry traces go (OTLP over HTTP), such as "
        "http://collector:4318/v1/traces. Takes the extra `otel`.",
    )
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port for all that takes the scope admin (metrics, documentation, the page, "
        "shoppers' data) and for the details of /readyz, which are then nowhere else.",
    )
    admin_host: str = Field("127.0.0.1", description="Address to listen on with `admin_port`.")
    deadline_ms: float = Field(
        50.0,
        ge=1,
        le=60_000,
        description="Time a recommendation may take. Parts that take longer than their share of it "
        "are left out, and the answer says so; a request may set its own (header Deadline-Ms).",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="The server's log: lines for people, or a JSON object a line."
    )
    workers: int = Field(
        1, ge=1, le=256, description="Processes that serve on the port, the bundle's files shared."
    )
    drain_seconds: float = Field(
        1.0,
        ge=0,
        description="How long it goes on serving after SIGTERM, /readyz answering 503, so that "
        "load balancers look elsewhere before it stops to listen.",
    )
    tls_certificate: Path | None = Field(
        None, description="Certificate (PEM, with its chain) to speak TLS with."
    )
    tls_key: Path | None = Field(None, description="The certificate's private key (PEM).")
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins, such as https://shop.example, whose pages may call the service from "
        "a browser.",
    )
    trusted_proxies: list[str] = Field(
        default_factory=lambda: ["127.0.0.1", "::1"],
        description="Addresses of proxies that say in X-Forwarded-For whose request they pass on.",
    )
    key_requests_per_second: float | None = Field(
        None, gt=0, description="Requests of one API key, in each worker. Default: no limit."
    )
    browser_requests_per_second: float = Field(
        10.0,
        gt=0,
        description="Requests of one address with a key that may only write events, as web pages "
        "have it, in each worker.",
    )
    max_in_flight: int = Field(
        128,
        ge=2,
        description="Requests that a worker works on at once. From half of it on, events are put "
        "off (429) and ranking is left out; at the limit, everything is put off.",
    )
    candidates: int = Field(500, ge=10, le=5000, description="Candidates retrieved per request.")
    cache_ttl_hours: float = Field(6.0, gt=0, description="Life of a cached user vector.")
    cache_size: int = Field(100_000, ge=1, description="User vectors cached in the process.")
    reload_seconds: float = Field(
        2.0, gt=0, description="How often a server looks for a newly promoted bundle."
    )

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("takes tls_certificate and tls_key, or neither of them")
        return self
