"""What a serving target is: it takes an exported model, proves what it serves, and puts it live."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from tunesmith.registry import Registry
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import ParityReport
from tunesmith.serving.tool_template import Form
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint
from tunesmith_connectors.addresses import without_userinfo

# A caller who sends one of these has chosen a format; the task's own constraint then stays out.
FORMAT_KEYS = ("response_format", "grammar", "json_schema", "tools", "format")


@dataclass(frozen=True)
class Check:
    """Whether a counterpart is there. `hint` says what to do when it is not."""

    ok: bool
    detail: str
    hint: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_userinfo(self.detail))


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers. `base_url` speaks OpenAI's protocol and ends in /v1. `tool_form`: how the model takes
    tools as callers send them, see `tool_template`."""

    base_url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict)
    tool_form: Form | None = None


@dataclass(frozen=True)
class Route:
    """A way by which callers reach a published model, and what its target is asked on that way.

    `url`: where callers ask. `api`: whose chat protocol the target is asked in. `parameters` go along with the model
    and the messages. `constrained`: Tunesmith asks, and holds the answer to the task's format. `same_as`: the target
    is asked the very same on that other route, so one measurement is true of both. `send`: what callers have to send
    themselves to be answered as measured; `note`: what else they should know.
    """

    name: str
    label: str
    url: str = ""
    api: Literal["openai", "ollama"] = "openai"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    constrained: bool = False
    same_as: str | None = None
    send: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """An exported model on its way to a target. `num_ctx`: tokens. `num_predict`: tokens that an answer may take where
    the caller names no number; None leaves it to the caller."""

    name: str
    version: str
    gguf: Path
    hf_dir: Path
    system: str | None
    stop: list[str]
    num_ctx: int
    quantization: str
    num_predict: int | None = None

    @classmethod
    def of_export(
        cls, *, name: str, version: str, gguf: Path, hf_dir: Path, quantization: str, num_predict: int | None = None
    ) -> Self:
        """System prompt, stop texts and context length are read from the model's own template and configuration."""
        folder = HfFolder(hf_dir)
        return cls(
            name,
            version,
            gguf,
            hf_dir,
            folder.default_system,
            folder.stop,
            folder.num_ctx,
            quantization,
            num_predict,
        )


@dataclass(frozen=True)
class Deployment:
    """A candidate at its target. JSON-able by `as_dict`; `digest` tells it apart at the target."""

    target: str
    name: str
    version: str
    model: str
    gguf: str
    hf_dir: str
    digest: str
    system: str | None
    stop: list[str]
    num_ctx: int
    quantization: str
    num_predict: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Also of one that was stored before answers had a length."""
        return cls(**{"num_predict": None, **{key: data[key] for key in cls.__dataclass_fields__ if key in data}})

    @classmethod
    def of(cls, candidate: Candidate, *, target: str, model: str, digest: str) -> Self:
        return cls(
            target=target,
            model=model,
            digest=digest,
            name=candidate.name,
            version=candidate.version,
            gguf=str(candidate.gguf),
            hf_dir=str(candidate.hf_dir),
            system=candidate.system,
            stop=candidate.stop,
            num_ctx=candidate.num_ctx,
            quantization=candidate.quantization,
            num_predict=candidate.num_predict,
        )


class Target(Protocol):
    """Every step is idempotent: after a kill -9, doing it again finishes it and leaves nothing twice."""

    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None: ...

    def check(self) -> Check: ...

    def ready_for(self, hf_dir: Path) -> None:
        """Can a model that is trained on this base be served here? Asked before the training begins.

        Raises BadInput for a base whose template cannot be served, and Unavailable when the target is away.
        """
        ...

    def foreign(self, name: str) -> str | None:
        """One sentence on what answers to this name and is not ours; None when the name is free, or ours.

        Raises Unavailable when the target is away.
        """
        ...

    def deploy(self, candidate: Candidate) -> Deployment:
        """Make the candidate servable beside what is live. Raises ParityError for a GGUF that is not our export."""
        ...

    def serve(self, deployment: Deployment) -> AbstractContextManager[Endpoint]:
        """An endpoint for a stage, for as long as the block lasts."""
        ...

    def parity(self, deployment: Deployment) -> ParityReport:
        """Does the served model see the tokens that training used?"""
        ...

    def promote(self, deployment: Deployment) -> None:
        """Make it the one that answers to its name. Raises Conflict rather than replace what is not ours."""
        ...

    def remove(self, deployment: Deployment) -> None:
        """Take one version away, and the live tag where it is this one (with an empty digest it never is). Harmless
        when it is gone."""
        ...

    def routes(self, deployment: Deployment) -> list[Route]:
        """The ways by which others reach it at this target once it is live, beside Tunesmith's own."""
        ...

    def body(self, request: dict[str, Any], constraint: Constraint | None) -> dict[str, Any]:
        """An OpenAI chat body as this target understands it. The caller's own format wins over the constraint."""
        ...


TARGETS: Registry[Target] = Registry("tunesmith.targets", "target")


def shown_url(url: str) -> str:
    """A URL as others may see it: without what may be a password in it."""
    return without_userinfo(url).rstrip("/")


def has_own_format(request: dict[str, Any]) -> bool:
    return any(request.get(key) for key in FORMAT_KEYS)
