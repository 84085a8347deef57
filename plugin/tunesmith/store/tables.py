"""The tables. The database holds what is listed and searched; everything large lies in artefact folders."""

import time
from typing import Any, ClassVar

from sqlalchemy import JSON, Boolean, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MAX_ID = 2**31 - 1  # of an Integer column; Postgres fails on a question for a larger one


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class Key(Base):
    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class File(Base):
    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(40))
    bytes: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    idempotency_key: Mapped[str | None] = mapped_column(String(200), index=True, unique=True)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class RecipeRow(Base):
    __tablename__ = "recipes"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    document: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    updated_at: Mapped[float] = mapped_column(Float, default=time.time)


class Run(Base):
    """One execution of a recipe. `request` keeps what a fine-tuning call sent, so that it is answered alike.

    `may_replace`: its maker might publish, so it may replace a live version. `published_at`: its model went live then,
    whatever is live now. `tidied`: it ended unpublished, and nothing of its candidate is left.
    """

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    recipe_name: Mapped[str | None] = mapped_column(String(80), index=True)
    recipe: Mapped[dict[str, Any]]
    request: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    model_name: Mapped[str] = mapped_column(String(120))
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    may_replace: Mapped[bool] = mapped_column(Boolean, default=True)
    published_at: Mapped[float | None] = mapped_column(Float)
    tidied: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Job(Base):
    """The unit of durable work. `after` is the job that must have succeeded before this one may start.

    While it runs: `host` is the machine of its worker, `pid` the process there, and `ticket` what only that attempt
    knows, so that nobody else can end it. `beat_at` is written anew by its worker as long as that lives.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_status_lane", "status", "lane"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(40), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    lane: Mapped[str] = mapped_column(String(20), default="default")
    position: Mapped[int] = mapped_column(Integer, default=0)
    after: Mapped[str | None] = mapped_column(String(40), ForeignKey("jobs.id"))
    status: Mapped[str] = mapped_column(String(20), default="queued")
    wanted: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    not_before: Mapped[float] = mapped_column(Float, default=0.0)
    pid: Mapped[int | None] = mapped_column(Integer)
    pid_created: Mapped[float | None] = mapped_column(Float)
    host: Mapped[str | None] = mapped_column(String(200))
    ticket: Mapped[str | None] = mapped_column(String(40))
    beat_at: Mapped[float | None] = mapped_column(Float)
    outcome: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    started_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)


class Event(Base):
    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(String(40), index=True)
    job_id: Mapped[str | None] = mapped_column(String(40))
    type: Mapped[str] = mapped_column(String(20), default="message")
    level: Mapped[str] = mapped_column(String(10), default="info")
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class DatasetVersion(Base):
    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(80), index=True)
    version: Mapped[str] = mapped_column(String(64))
    report: Mapped[dict[str, Any]]
    run_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Model(Base):
    """A published name. Exactly one of its versions is live."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    live: Mapped[str | None] = mapped_column(String(60))
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class ModelVersion(Base):
    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(120), index=True)
    version: Mapped[str] = mapped_column(String(60))
    run_id: Mapped[str] = mapped_column(String(40))
    base_model: Mapped[str] = mapped_column(String(200))
    dataset_version: Mapped[str] = mapped_column(String(64))
    task: Mapped[dict[str, Any]]
    deployment: Mapped[dict[str, Any]]
    evaluation: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    live_since: Mapped[float | None] = mapped_column(Float)


class UnsettledModel(Base):
    """A name that is being changed: until the row is gone, its target may not have what stands in `models`."""

    __tablename__ = "unsettled_models"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)


class Notice(Base):
    """The outbox: what happened, written in the transaction in which it happened. `passed_on`: to the webhooks."""

    __tablename__ = "notices"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    run_id: Mapped[str | None] = mapped_column(String(40), index=True)
    data: Mapped[dict[str, Any]]
    passed_on: Mapped[bool] = mapped_column(Boolean, default=False, index=True)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Webhook(Base):
    """`secret` signs, so it is kept as it is; it is shown only when it is made. `run_id`: a hook for one run only."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[Any]]
    description: Mapped[str] = mapped_column(String(200), default="")
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    run_id: Mapped[str | None] = mapped_column(String(40))
    secret: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Delivery(Base):
    """One notice on its way to one webhook. `body` is sent byte for byte at every attempt."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_deliveries_due", "status", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(String(40), ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(String(40))
    type: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20), default="pending")
    attempts: Mapped[list[Any]] = mapped_column(JSON, default=list)
    tries_left: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[float | None] = mapped_column(Float, default=time.time)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Schedule(Base):
    """When a recipe runs by itself. `next_run_at` is the claim: it moves on in the transaction that ends a turn.

    `may_replace`: whoever chose its recipe may publish, so its runs may replace a live version.
    """

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    recipe: Mapped[str] = mapped_column(String(80))
    timing: Mapped[dict[str, Any]]
    minimum_new_documents: Mapped[int] = mapped_column(Integer, default=0)
    wake: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    may_replace: Mapped[bool] = mapped_column(Boolean, default=True)
    next_run_at: Mapped[float | None] = mapped_column(Float, index=True)
    last_run_id: Mapped[str | None] = mapped_column(String(40))
    last_result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class LibraryDocument(Base):
    """One document of Paperless as its API tells it (`wire`, JSON text), beside what queries ask for. `id` is its."""

    __tablename__ = "library_documents"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(32))
    created: Mapped[str | None] = mapped_column(String(10))
    correspondent: Mapped[int | None] = mapped_column(Integer)
    document_type: Mapped[int | None] = mapped_column(Integer)
    storage_path: Mapped[int | None] = mapped_column(Integer)
    wire: Mapped[str] = mapped_column(Text)


class LibraryState(Base):
    """How far the library is; one row. `cursor`: all that was modified before it is here. `walk`: where a sync that
    has not ended goes on. `compared_at`: when all ids were last compared with the server's."""

    __tablename__ = "library_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(String(400))
    lookups: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    cursor: Mapped[str | None] = mapped_column(String(40))
    walk: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    compared_at: Mapped[float | None] = mapped_column(Float)
    synced_at: Mapped[float | None] = mapped_column(Float)
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Suggestion(Base):
    """What a model said of a document, and what people made of it. `added` tells the document from a later one of
    the same id; `text` is what the model read.

    `answer`: field → value as answered. `places`: field → where it lies in Paperless. `before`: its value there at
    that moment, or as we wrote it since. `current`: its value there now; when it differs from `before`, a person
    changed it. `written`: field → the value that we wrote, null while the write is under way.
    """

    __tablename__ = "suggestions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    document: Mapped[int] = mapped_column(Integer, index=True)
    added: Mapped[str] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(120), index=True)
    version: Mapped[str] = mapped_column(String(60))
    text: Mapped[str] = mapped_column(Text)
    group: Mapped[str] = mapped_column(String(80), default="")
    answer: Mapped[dict[str, Any]]
    places: Mapped[dict[str, Any]]
    before: Mapped[dict[str, Any]]
    current: Mapped[dict[str, Any]]
    written: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
