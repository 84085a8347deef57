"""Metrics and the gate."""

import pytest

from tunesmith.errors import GateNotMet
from tunesmith.evaluation import gate
from tunesmith.evaluation.metrics import Metrics, summarise
from tunesmith.tasks.base import Score


def metrics(adherence: float, accuracy: float, rows: int = 10) -> Metrics:
    return Metrics(rows, adherence, accuracy, accuracy)


def test_figures_are_means_over_rows_and_fields() -> None:
    scores = [
        Score(True, True, {"a": True, "b": True}),
        Score(True, False, {"a": True, "b": False}, ["b"]),
        Score(False, False, {"a": False, "b": False}),
        Score(True, False, {"a": True}),
    ]
    figures = summarise(scores)
    assert figures.rows == 4
    assert figures.format_adherence == 0.75
    assert figures.exact == 0.25
    assert figures.fields == {"a": 0.75, "b": 1 / 3}
    assert figures.field_accuracy == 4 / 7
    assert figures.ungrounded == 0.25
    assert summarise([]).rows == 0


def test_gate_holds_a_candidate_to_the_rules_and_to_the_live_version() -> None:
    good = gate.judge(metrics(1.0, 0.9), format_adherence=0.95, field_accuracy=0.8, live=metrics(0.9, 0.9))
    assert good.passed
    gate.require(good.as_dict())
    worse = gate.judge(metrics(0.9, 0.7), format_adherence=0.95, live=metrics(1.0, 0.75))
    assert not worse.passed
    with pytest.raises(GateNotMet, match=r"format adherence 90.0%, required 95.0%: short by 5.0 points") as caught:
        gate.require(worse.as_dict())
    assert "field accuracy of live 70.0%, required 75.0%" in caught.value.message


def test_rows_that_were_trained_on_replace_no_live_model() -> None:
    """Regression: with too few rows to hold any out, a model went live over another for what it had learnt by heart."""
    perfect = metrics(1, 1)
    assert gate.judge(perfect, format_adherence=0.95, held_out=False).passed
    verdict = gate.judge(perfect, format_adherence=0.95, live=metrics(1, 0.5), held_out=False)
    with pytest.raises(GateNotMet, match="without held-out rows nothing shows"):
        gate.require(verdict.as_dict())


def test_the_weakest_open_route_decides_and_is_named() -> None:
    """Regression: a model that was right only when Tunesmith held it to the format went live for everybody."""
    measured = {"tunesmith": metrics(1.0, 0.9), "ollama": metrics(0.6, 0.5), "ollama_v1": metrics(0.6, 0.5)}
    verdict = gate.judge(measured, format_adherence=0.95, field_accuracy=0.4)
    assert [(check.name, check.route, check.value, check.passed) for check in verdict.checks] == [
        ("format_adherence", "ollama", 0.6, False),
        ("field_accuracy", "ollama", 0.5, True),
    ]
    with pytest.raises(GateNotMet, match=r"format adherence by ollama 60.0%, required 95.0%: short by 35.0 points"):
        gate.require(verdict.as_dict())


def test_the_live_version_is_compared_route_by_route() -> None:
    live = {"tunesmith": metrics(1.0, 0.9), "ollama": metrics(1.0, 0.8)}
    candidate = {"tunesmith": metrics(1.0, 0.95), "ollama": metrics(1.0, 0.75), "litellm": metrics(0.1, 0.1)}
    verdict = gate.judge(candidate, live=live)
    accuracy = next(check for check in verdict.checks if check.name == "field_accuracy_of_live")
    assert (accuracy.route, accuracy.value, accuracy.required) == ("ollama", 0.75, 0.8)
    assert all(check.route != "litellm" for check in verdict.checks), "nobody asked the live version so"
    assert gate.judge({**candidate, "ollama": metrics(1.0, 0.8)}, live=live).passed


def test_a_candidate_is_held_to_the_rows_of_the_live_version() -> None:
    easy, nothing = {"tunesmith": metrics(1.0, 1.0)}, {"tunesmith": metrics(1.0, 0.0)}
    assert gate.judge(easy, live=nothing).passed
    verdict = gate.judge(easy, live=nothing, on_live_rows=(nothing, easy))
    assert [check.name for check in verdict.checks if not check.passed] == ["field_accuracy_on_live_rows"]


def test_a_rule_is_an_entry_with_a_bound_and_a_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = gate.Rule("ungrounded", lambda measured: measured.ungrounded, direction="at_most")
    monkeypatch.setattr(gate, "RULES", [rule])
    shown = gate.Evidence({"tunesmith": Metrics(4, 1.0, 1.0, 1.0, ungrounded=0.25)}, {"ungrounded": 0.1})
    check = rule.check(shown)
    assert check is not None
    assert not check.passed
    assert "short by 15.0 points" in check.sentence()


def test_a_verdict_that_was_stored_before_routes_were_measured_is_read() -> None:
    old = {"name": "field_accuracy", "value": 0.5, "required": 0.8, "passed": False}
    with pytest.raises(GateNotMet, match=r"field accuracy 50.0%, required 80.0%"):
        gate.require({"passed": False, "checks": [old], "note": None})
