"""What a recipe may set about its dataset: thresholds of the gates, near-duplicates, languages, private data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tunesmith.datasets.gates import GATES, check_thresholds
from tunesmith.datasets.privacy import Action, check_kinds

NEAR = 0.8  # similarity from which two documents count as the same but for noise, or as one month's bill and the next
Goal = Literal["auto", "format", "tone", "narrow", "general"]


class DatasetOptions(BaseModel):
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

    @field_validator("gates")
    @classmethod
    def _known_gates(cls, value: dict[str, float]) -> dict[str, float]:
        return check_thresholds(value)

    @field_validator("personal_data")
    @classmethod
    def _known_kinds(cls, value: Action | dict[str, Action]) -> Action | dict[str, Action]:
        return check_kinds(value) if isinstance(value, dict) else value
