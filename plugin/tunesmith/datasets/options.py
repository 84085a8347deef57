"""What a recipe may set about its dataset: thresholds of the gates, near-duplicates, languages, private data."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from tunesmith.datasets.gates import GATES, check_thresholds
from tunesmith.datasets.privacy import Action, check_kinds
from tunesmith.typed import Typed

NEAR = 0.8  # similarity from which two documents count as the same but for noise, or as one month's bill and the next
Goal = Literal["auto", "format", "tone", "narrow", "general"]


class AskedFirst(Typed):
    """Ask a model the training rows first, and train harder on what it gets wrong."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        "live",
        description="live: this recipe's own published version, and nothing before there is one; base: the untuned "
        "base, held to the task's format; or a published name.",
    )
    weight: float = Field(3.0, gt=0, le=100, description="How often a row that it gets wrong counts in training.")
    keep_right: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the rows that it gets right which stay; never fewer than a task needs.",
    )
    rows: int = Field(500, gt=0, description="At most this many training rows are asked; the others stay as they are.")


class Mix(Typed):
    """General conversations in training, so that the model does not forget what it could do."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(None, description="A dataset that was imported or built.")
    version: str | None = Field(None, description="Start of a version's id. Default: the newest when the run builds.")
    file: str | None = Field(None, description="Or a file id; `tunesmith run` also takes a path and uploads it.")
    share: float = Field(0.1, gt=0, le=0.9, description="Share of the rows that are trained on.")

    @model_validator(mode="after")
    def _one_source(self) -> "Mix":
        if (self.dataset is None) == (self.file is None):
            raise ValueError("mix names either a dataset or a file")
        return self


class DatasetOptions(Typed):
    """Every default suits household documents. A misspelt name is an error that lists the known ones."""

    model_config = ConfigDict(extra="forbid")

    gates: dict[str, float] = Field(
        {}, description=f"Gate → its threshold, instead of the usual one. Gates: {', '.join(GATES)}."
    )
    near_duplicates: float | None = Field(
        NEAR,
        ge=0.75,
        le=1,
        description="Jaccard similarity of 5-character shingles from which documents are near-duplicates; null: off.",
    )
    languages: list[str] = Field([], description="Expected languages (ISO 639-1: de, en, …); empty: all are welcome.")
    secrets: Action = Field("redact", description="Keys, passwords and tokens: report, redact or drop (the row).")
    personal_data: Action | dict[str, Action] = Field(
        "report", description="E-mail, phone, IBAN and card numbers: one action for all, or kind → action."
    )
    presidio: str | None = Field(
        None,
        description="A spaCy model such as en_core_web_sm: names and places are personal data, too (extra privacy).",
    )
    goal: Goal = Field("auto", description="What the rows shall teach; readiness is judged by it. auto: by the task.")

    hard_negatives: AskedFirst | None = Field(
        None, description="true, or settings: rows that the current model gets wrong count more."
    )
    mix: Mix | None = Field(None, description="A dataset's name, or settings: general rows against forgetting.")

    @field_validator("hard_negatives", mode="before", json_schema_input_type=AskedFirst | bool | None)
    @classmethod
    def _usual(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value

    @field_validator("mix", mode="before", json_schema_input_type=Mix | str | None)
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"dataset": value} if isinstance(value, str) else value

    @field_validator("gates")
    @classmethod
    def _known_gates(cls, value: dict[str, float]) -> dict[str, float]:
        return check_thresholds(value)

    @field_validator("personal_data")
    @classmethod
    def _known_kinds(cls, value: Action | dict[str, Action]) -> Action | dict[str, Action]:
        return check_kinds(value) if isinstance(value, dict) else value
