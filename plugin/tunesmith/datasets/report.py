"""What a dataset version says about itself: `report.json`."""

from typing import Any, Literal

from pydantic import BaseModel

MAX_REJECTED = 1000  # listed one by one; all are counted


class Rejected(BaseModel):
    """One line or document that did not become a row, and why."""

    where: str
    code: str
    reason: str
    line: int | None = None  # of a file, or the row of a table, from 1


class GateResult(BaseModel):
    """One quality gate. `required`: training should not start when it is not passed; others are warnings."""

    name: str
    value: float
    threshold: float
    bound: Literal["at_least", "at_most"]
    passed: bool
    required: bool
    meaning: str


class DatasetReport(BaseModel):
    """Counts, splits and gates of one immutable version. `version` is the first 16 hex digits of its content's hash.

    `in_sample`: there is no test split, so any figure will be measured on rows that were trained on.
    """

    version: str
    task: str
    spec: dict[str, Any]
    rows_in: int
    rows_kept: int
    rejected: list[Rejected]
    rejected_by_code: dict[str, int]
    duplicates_removed: int
    leaks_removed: int
    groups: int
    groups_shared_with_test: int
    cut_documents: int
    characters: dict[str, int]
    splits: dict[str, int]
    in_sample: bool
    gates: list[GateResult]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, as in report.json, with `passed`."""
        return {**self.model_dump(mode="json"), "passed": self.passed}

    @property
    def passed(self) -> bool:
        """Whether every required gate is passed."""
        return all(gate.passed for gate in self.gates if gate.required)
