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
    "unreadable_text": Gate(
        0.05,
        "at_most",
        False,
        "Share of rows whose text is mostly no words. Scan or OCR them again.",
    ),
    "language": Gate(
        0.1, "at_most", False, "Share of rows in none of the expected languages. Filter the source, or expect them."
    ),
    "contradictions": Gate(0.05, "at_most", True, "Share of rows whose prompt has another answer elsewhere."),
    "mixed_system_prompts": Gate(
        0.0, "at_most", True, "System prompts must be in all rows or in none, or serving cannot match training."
    ),
    "inconsistent_format": Gate(
        0.05, "at_most", False, "Share of answers whose form differs from the usual one. Write all answers alike."
    ),
    "largest_label": Gate(0.9, "at_most", False, "Share of the most frequent label. A model may learn only that one."),
    "ungrounded_targets": Gate(
        0.15, "at_most", False, "Share of values (worst field) that their document lacks. They teach inventing."
    ),
    "long_rows": Gate(0.2, "at_most", False, f"Share of rows over {LONG_ROW} characters. They cost most of the time."),
    "over_context": Gate(
        0.02, "at_most", False, "Share of rows longer than the model's context: training leaves them out. Shorten them."
    ),
    "secrets": Gate(
        0.0, "at_most", False, "Share of rows with a password, key or token. Redacted unless the recipe says otherwise."
    ),
    "personal_data": Gate(
        1.0,
        "at_most",
        False,
        "Share of rows with an e-mail, phone, IBAN or card number: a model may repeat it.",
    ),
    "poisoning": Gate(
        0.0, "at_most", False, "Share of rows with a phrase that forces one answer against all else; see suspicious."
    ),
}


def check_thresholds(given: Mapping[str, float]) -> dict[str, float]:
    """The thresholds, if every name is a gate's and every value is possible. Raises ValueError."""
    for name, value in given.items():
        if name not in GATES:
            raise ValueError(f"there is no gate {name!r}; gates are: {', '.join(GATES)}")
        if value < 0 or (name != "rows_kept" and value > 1):
            raise ValueError(f"the threshold of {name} is {value:g}; it is a share from 0 to 1")
    return dict(given)


def judge(
    figures: Mapping[str, float], minimum_rows: int, thresholds: Mapping[str, float] | None = None
) -> list[GateResult]:
    """Results for every gate that has a figure, in the order of GATES; `thresholds` replace the usual ones."""
    results = []
    usual = {name: gate.threshold for name, gate in GATES.items()}
    limits = {**usual, "rows_kept": float(minimum_rows), **(thresholds or {})}
    for name, gate in GATES.items():
        if name not in figures:
            continue
        value, threshold = round(figures[name], 4), limits[name]
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
