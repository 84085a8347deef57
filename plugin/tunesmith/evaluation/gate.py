"""The gate: the rules that a candidate must pass before it may go live."""

from dataclasses import asdict, dataclass
from typing import Any

from tunesmith.errors import GateNotMet
from tunesmith.evaluation.metrics import Metrics


@dataclass
class Check:
    """One rule. `value` is what was measured, `required` what the rule asks for; both are shares from 0 to 1."""

    name: str
    value: float
    required: float

    @property
    def passed(self) -> bool:
        return self.value >= self.required

    def sentence(self) -> str:
        verdict = "passed" if self.passed else f"short by {100 * (self.required - self.value):.1f} points"
        return f"{self.name.replace('_', ' ')} {self.value:.1%}, required {self.required:.1%}: {verdict}"


@dataclass
class Verdict:
    passed: bool
    checks: list[Check]
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {"passed": self.passed, "checks": checks, "note": self.note}


def judge(
    candidate: Metrics,
    *,
    format_adherence: float | None = None,
    field_accuracy: float | None = None,
    live: Metrics | None = None,
    held_out: bool = True,
) -> Verdict:
    """Hold a candidate against the recipe's rules and against the version now live, measured on the same rows.

    Rows that it was trained on (not `held_out`) prove nothing against a live version, which may not have seen them.
    """
    checks = []
    if format_adherence is not None:
        checks.append(Check("format_adherence", candidate.format_adherence, format_adherence))
    if field_accuracy is not None:
        checks.append(Check("field_accuracy", candidate.field_accuracy, field_accuracy))
    if live is not None:
        checks.append(Check("field_accuracy_of_live", candidate.field_accuracy, live.field_accuracy))
        checks.append(Check("format_adherence_of_live", candidate.format_adherence, live.format_adherence))
    if live is not None and not held_out:
        return Verdict(False, checks, "without held-out rows nothing shows that it is not worse than the live version")
    return Verdict(all(check.passed for check in checks), checks)


def require(verdict: dict[str, Any]) -> None:
    """Raise GateNotMet, saying by how much, unless the stored verdict passed."""
    if verdict["passed"]:
        return
    missed = [Check(c["name"], c["value"], c["required"]).sentence() for c in verdict["checks"] if not c["passed"]]
    missed += [verdict["note"]] if verdict.get("note") else []
    raise GateNotMet(
        f"The model is not published: {'; '.join(missed)}.",
        hint="Add documents of the kinds it gets wrong (every answer is kept), train longer, or change the gate.",
    )
