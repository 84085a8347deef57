"""Quality gates of a dataset: each has a number, a threshold, and a sentence that says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tunesmith.datasets.report import GateResult

LONG_ROW = 6000  # characters, about 2,000 tokens


@dataclass(frozen=True)
class Gate:
    threshold: float
    bound: Literal["at_least", "at_most"]
    required: bool
    meaning: str


GATES: dict[str, Gate] = {
    "rows_kept": Gate(50, "at_least", True, "Rows that can be trained on. Add documents, or synthetic rows."),
    "rejected_share": Gate(0.5, "at_most", True, "Share of the source that could not be used; see rejected."),
    "empty_text": Gate(0.2, "at_most", True, "Share of documents without text. Let Paperless run OCR again."),
    "contradictions": Gate(0.05, "at_most", True, "Share of rows whose prompt has another answer elsewhere."),
    "mixed_system_prompts": Gate(
        0.0, "at_most", True, "System prompts must be in all rows or in none, or serving cannot match training."
    ),
    "largest_label": Gate(0.9, "at_most", False, "Share of the most frequent label. A model may learn only that one."),
    "ungrounded_targets": Gate(
        0.15, "at_most", False, "Share of values (worst field) that their document lacks. They teach inventing."
    ),
    "long_rows": Gate(0.2, "at_most", False, f"Share of rows over {LONG_ROW} characters. They cost most of the time."),
}


def judge(figures: Mapping[str, float], minimum_rows: int) -> list[GateResult]:
    """Results for every gate that has a figure, in the order of GATES."""
    results = []
    for name, gate in GATES.items():
        if name not in figures:
            continue
        value = round(figures[name], 4)
        threshold = float(minimum_rows) if name == "rows_kept" else gate.threshold
        passed = value >= threshold if gate.bound == "at_least" else value <= threshold
        results.append(
            GateResult(
                name=name,
                value=value,
                threshold=threshold,
                bound=gate.bound,
                passed=passed,
                required=gate.required,
                meaning=gate.meaning,
            )
        )
    return results
