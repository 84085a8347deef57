"""Figures over scored answers. Every share is between 0 and 1 and comes with the number of rows behind it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.evaluation.confusion import confusions, macro_f1
from tunesmith.tasks.base import Score


@dataclass
class Metrics:
    """What was measured on `rows` answers.

    `field_accuracy` is the share of all fields of all rows whose value is exact; a row that is not in the format has
    none of its fields. `ungrounded` is the share of rows with a value that is nowhere in the document. Where answers
    are labels, `macro_f1` is the mean F1 over labels and `confusions` the most frequent mistakes.
    """

    rows: int
    format_adherence: float
    exact: float
    field_accuracy: float
    fields: dict[str, float] = field(default_factory=dict)
    ungrounded: float = 0.0
    seconds: float = 0.0
    macro_f1: float | None = None
    confusions: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(scores: Sequence[Score], seconds: float = 0.0) -> Metrics:
    """Means over rows; zeros when there are none."""
    if not scores:
        return Metrics(0, 0.0, 0.0, 0.0, seconds=seconds)
    names = list(dict.fromkeys(name for score in scores for name in score.fields))
    per_field = {}
    for name in names:
        marks = [score.fields[name] for score in scores if name in score.fields]
        per_field[name] = sum(marks) / len(marks)
    every = [mark for score in scores for mark in score.fields.values()]
    count = len(scores)
    labels = [score.labels for score in scores if score.labels is not None]
    return Metrics(
        rows=count,
        format_adherence=sum(score.format_ok for score in scores) / count,
        exact=sum(score.exact for score in scores) / count,
        field_accuracy=sum(every) / len(every) if every else sum(score.exact for score in scores) / count,
        fields=per_field,
        ungrounded=sum(bool(score.ungrounded) for score in scores) / count,
        seconds=round(seconds, 2),
        macro_f1=macro_f1(labels) if labels else None,
        confusions=confusions(labels),
    )
