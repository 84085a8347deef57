"""What a recipe may say about synthetic rows. Which endpoint the teacher is at is a matter of the settings."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from tunesmith.typed import Typed

Like = Literal["paperless", "documents", "file", "dataset", "schema", "tools"]
Kind = Literal["layout", "translate", "ocr", "missing", "rare", "schema", "correct", "dialogue"]

LOCAL: tuple[Kind, ...] = ("ocr", "missing")  # need no teacher
SEEDED: tuple[Kind, ...] = ("layout", "translate", "ocr", "missing", "rare", "correct")
RUBRIC = """5: the document looks like a real one, and the answer is right and complete.
4: the answer is right; the document has small oddities.
3: the answer is right, but the document is hardly believable.
2: a part of the answer is wrong or missing.
1: the answer does not follow from the document."""


class _Strict(Typed):
    model_config = ConfigDict(extra="forbid")


class Budget(_Strict):
    """Kept for teacher and judges together. A question is only asked when its longest answer fits, too."""

    tokens: int | None = Field(None, gt=0, description="Tokens in and out together. Default: no limit.")
    cost: float | None = Field(None, gt=0, description="In the money of `prices`. Default: no limit.")
    prices: tuple[float, float] = Field(
        (0.0, 0.0), description="Money per million tokens: [in, out]. Default: a teacher of your own, for nothing."
    )

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> "Budget":
        if self.cost is not None and not any(self.prices):
            raise ValueError("a budget of cost needs prices: [in, out] per million tokens")
        return self


class Judge(_Strict):
    """Every row is judged twice; it stays when both judgements reach `minimum`."""

    models: list[str] = Field([], max_length=2, description="One or two models. Default: the teacher, asked two ways.")
    rubric: str = Field(RUBRIC, min_length=10, max_length=4000, description="What the marks from 1 to 5 mean.")
    minimum: int = Field(4, ge=1, le=5)


class SyntheticOptions(_Strict):
    """Rows that a teacher writes. They are only trained on: neither tested nor validated with."""

    like: Like = Field(
        description="What they are made from: another source of the recipe (paperless, documents, file, dataset), "
        "whose training rows are the seeds; schema: the task alone; tools: a list of tools."
    )
    rows: int = Field(100, gt=0, le=20_000, description="How many are wanted; fewer when too few pass the checks.")
    teacher: str | None = Field(None, description="A model at TUNESMITH_TEACHER_URL. Default: TUNESMITH_TEACHER_MODEL.")
    kinds: list[Kind] = Field(
        [],
        description="layout, translate (into `languages`), rare (the rarest choices), correct (the base answers, the "
        "teacher corrects); ocr and missing need no teacher. Default: what `like` and the task allow, but correct.",
    )
    languages: list[str] = Field([], description="For translate, by name or code: [German, fr].")
    judge: Judge | None = Field(None, description="Default: no judge; the checks alone decide.")
    budget: Budget = Budget()
    tools: list[dict[str, Any]] | dict[str, Any] | None = Field(
        None,
        description="With like: tools. An OpenAPI document, a tool list of MCP, or OpenAI functions; `tunesmith run` "
        "reads it from `tools_file`. Default: task.tools.",
    )
    temperature: float = Field(0.7, ge=0, le=2)

    @model_validator(mode="after")
    def _kinds_fit(self) -> "SyntheticOptions":
        allowed: tuple[Kind, ...] = {"schema": ("schema", "rare"), "tools": ("dialogue",)}.get(self.like, SEEDED)  # type: ignore[assignment]
        wrong = [kind for kind in self.kinds if kind not in allowed]
        if wrong:
            raise ValueError(f"like: {self.like} has no kind {wrong[0]}; it has {', '.join(allowed)}")
        if "translate" in self.kinds and not self.languages:
            raise ValueError("translate needs languages")
        if self.tools is not None and self.like != "tools":
            raise ValueError("tools go with like: tools")
        return self
