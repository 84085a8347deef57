"""The gate: the rules that a candidate must pass before it may go live."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunesmith.errors import GateNotMet
from tunesmith.evaluation.metrics import Metrics

ByRoute = Mapping[str, Metrics]  # what was measured on each route that will be open
Direction = Literal["at_least", "at_most"]


@dataclass(frozen=True)
class Evidence:
    """All that the gate is shown. `bounds`: what the recipe asks for, by rule. `live` was asked the candidate's rows;
    `candidate_there` and `live_there` were asked the rows that the live version was measured on."""

    candidate: ByRoute
    bounds: Mapping[str, float | None]
    live: ByRoute | None = None
    candidate_there: ByRoute | None = None
    live_there: ByRoute | None = None


@dataclass(frozen=True)
class Rule:
    """A figure of `of`, on every route, held to a bound of the recipe, or to the figure of `against` on that route."""

    name: str
    figure: Callable[[Metrics], float]
    of: Callable[[Evidence], ByRoute | None] = lambda evidence: evidence.candidate
    against: Callable[[Evidence], ByRoute | None] | None = None
    direction: Direction = "at_least"

    def check(self, evidence: Evidence) -> "Check | None":
        """On the weakest route; None where the rule does not apply."""
        found = [
            Check(self.name, self.figure(measured), required, route or None, self.direction)
            for route, measured in (self.of(evidence) or {}).items()
            if (required := self._required(evidence, route)) is not None
        ]
        return min(found, key=lambda check: check.margin, default=None)

    def _required(self, evidence: Evidence, route: str) -> float | None:
        if self.against is None:
            return evidence.bounds.get(self.name)
        other = (self.against(evidence) or {}).get(route)
        return None if other is None else self.figure(other)


def _adherence(measured: Metrics) -> float:
    return measured.format_adherence


def _accuracy(measured: Metrics) -> float:
    return measured.field_accuracy


RULES = [
    Rule("format_adherence", _adherence),
    Rule("field_accuracy", _accuracy),
    Rule("field_accuracy_of_live", _accuracy, against=lambda e: e.live),
    Rule("format_adherence_of_live", _adherence, against=lambda e: e.live),
    Rule("field_accuracy_on_live_rows", _accuracy, of=lambda e: e.candidate_there, against=lambda e: e.live_there),
    Rule("format_adherence_on_live_rows", _adherence, of=lambda e: e.candidate_there, against=lambda e: e.live_there),
]


@dataclass
class Check:
    """One rule, on the route on which it is met least. `value` is what was measured, `required` what the rule asks
    for; both are shares from 0 to 1."""

    name: str
    value: float
    required: float
    route: str | None = None
    direction: Direction = "at_least"

    @property
    def margin(self) -> float:
        """By how much it is passed; negative when it is not."""
        return self.value - self.required if self.direction == "at_least" else self.required - self.value

    @property
    def passed(self) -> bool:
        return self.margin >= 0

    def sentence(self) -> str:
        verdict = "passed" if self.passed else f"short by {-100 * self.margin:.1f} points"
        where = f" by {self.route}" if self.route else ""
        return f"{self.name.replace('_', ' ')}{where} {self.value:.1%}, required {self.required:.1%}: {verdict}"


@dataclass
class Verdict:
    passed: bool
    checks: list[Check]
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {"passed": self.passed, "checks": checks, "note": self.note}


def judge(
    candidate: Metrics | ByRoute,
    *,
    format_adherence: float | None = None,
    field_accuracy: float | None = None,
    live: Metrics | ByRoute | None = None,
    on_live_rows: tuple[ByRoute, ByRoute] | None = None,
    held_out: bool = True,
) -> Verdict:
    """Hold a candidate against the recipe's rules and against the version now live, route by route: on the candidate's
    rows, and (`on_live_rows`: candidate, live) on those that the live version was measured on.

    Rows that it was trained on (not `held_out`) prove nothing against a live version, which may not have seen them.
    """
    there, live_there = on_live_rows or (None, None)
    bounds = {"format_adherence": format_adherence, "field_accuracy": field_accuracy}
    evidence = Evidence(_by_route(candidate), bounds, None if live is None else _by_route(live), there, live_there)
    checks = list(_checks(evidence))
    if live is not None and not held_out:
        return Verdict(False, checks, "without held-out rows nothing shows that it is not worse than the live version")
    return Verdict(all(check.passed for check in checks), checks)


def _by_route(measured: Metrics | ByRoute) -> ByRoute:
    return {"": measured} if isinstance(measured, Metrics) else measured


def _checks(evidence: Evidence) -> Iterator[Check]:
    for rule in RULES:
        check = rule.check(evidence)
        if check is not None:
            yield check


def require(verdict: dict[str, Any]) -> None:
    """Raise GateNotMet, saying by how much, unless the stored verdict passed."""
    if verdict["passed"]:
        return
    fields = Check.__dataclass_fields__
    checks = [Check(**{key: value for key, value in check.items() if key in fields}) for check in verdict["checks"]]
    missed = [check.sentence() for check in checks if not check.passed]
    missed += [verdict["note"]] if verdict.get("note") else []
    raise GateNotMet(
        f"The model is not published: {'; '.join(missed)}.",
        hint="Add documents of the kinds it gets wrong (every answer is kept), train longer, or change the gate.",
    )
