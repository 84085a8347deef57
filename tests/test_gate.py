"""Metrics and the gate."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.errors import GateNotMet
from tunesmith.evaluation import gate
from tunesmith.evaluation.metrics import Metrics, summarise
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import evaluate
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


@pytest.mark.parametrize("in_sample", [True, False])
def test_the_evaluation_tells_the_gate_what_it_measured_on(
    in_sample: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = metrics(1, 1)
    found: dict[str, Any] = {
        "_questions": lambda _: ([], in_sample),
        "_live": lambda *_: metrics(1, 0.5),
        "_forgetting": lambda *_: None,
        "candidate": lambda _: None,
        "examine": lambda *_: good,
    }
    for name, function in found.items():
        monkeypatch.setattr(evaluate, name, function)
    target = SimpleNamespace(
        deploy=lambda _: SimpleNamespace(as_dict=dict),
        parity=lambda _: SimpleNamespace(require=lambda: None),
        serve=lambda _: nullcontext(None),
    )
    context: Any = SimpleNamespace(
        task=lambda: SimpleNamespace(has_format=True),
        target=lambda: target,
        say=lambda *_, **__: None,
        folder=tmp_path,
        recipe=Recipe.model_validate({"name": "x", "sources": [{"file": "file-1"}]}),
    )
    assert evaluate.run(context)["gate"]["passed"] is not in_sample
