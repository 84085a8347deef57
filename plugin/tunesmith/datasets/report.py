"""What a dataset version says about itself: `report.json`."""

from typing import Any, Literal

from pydantic import BaseModel

from tunesmith.datasets.synthetic.report import SyntheticReport

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


class NearDuplicates(BaseModel):
    """Rows whose prompts are nearly the same. `removed`: copies with the same answer; the others of a cluster are
    kept in one split. `leakage_prevented`: rows that a random split of the same size would, on average, have held
    out while a near-duplicate of them was trained on."""

    removed: int = 0
    clusters: int = 0
    rows_in_clusters: int = 0
    largest_cluster: int = 0
    leakage_prevented: int = 0


class Readiness(BaseModel):
    """Advice, never a gate: whether there are enough different rows for what they shall teach, and which are missing.

    `level`: too_few, minimum, workable or recommended. `different_rows`: rows counted once per near-duplicate cluster.
    `needed`: more rows, different from these, until the minimum and until the recommended number. `diversity`:
    effective number of clusters and of groups, and the evenness of labels and languages (1: all equally frequent).
    """

    goal: str
    level: str
    different_rows: int
    minimum: tuple[int, int]
    recommended: int
    needed: dict[str, int]
    diversity: dict[str, float]
    advice: list[str]


class HardNegatives(BaseModel):
    """Training rows that a model was asked before they were trained on. Rows that it had
    wrong count `weight` times, and `set_aside` of those that it had right are left out."""

    model: str
    asked: int
    wrong: int
    weight: float
    set_aside: int


class GeneralRows(BaseModel):
    """Rows against forgetting. `share`: of all rows that are trained on; `held_out`: rows kept to measure it."""

    source: str
    rows: int
    share: float
    held_out: int


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
    near_duplicates_removed: int
    near_duplicates: NearDuplicates
    leaks_removed: int
    frozen_test_rows: int
    groups: int
    groups_shared_with_test: int
    cut_documents: int
    characters: dict[str, int]
    languages: dict[str, int]
    labels: dict[str, dict[str, int]]
    length: dict[str, Any]
    private_data: dict[str, dict[str, int]]
    suspicious: list[dict[str, Any]]
    splits: dict[str, int]
    in_sample: bool
    gates: list[GateResult]
    readiness: Readiness
    hard_negatives: HardNegatives | None = None
    general: GeneralRows | None = None
    preference_pairs: int = 0
    synthetic: list[SyntheticReport] = []

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, as in report.json, with `passed`."""
        return {**self.model_dump(mode="json"), "passed": self.passed}

    @property
    def passed(self) -> bool:
        """Whether every required gate is passed."""
        return all(gate.passed for gate in self.gates if gate.required)
