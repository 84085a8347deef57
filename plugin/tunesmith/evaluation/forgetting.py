"""Forgetting: how much of its general answers a tuned model has lost against its base, on general rows that neither was
trained on here.

Likeness is of words: an answer that is right and long is unlike a short one that was expected. So the figure says how a
model moved, is reported with its error, and is no rule of the gate; the answers of both are kept to be read."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tunesmith.evaluation.answers import Examination
from tunesmith.serving.targets.base import Endpoint, Target
from tunesmith.store.files import write_text
from tunesmith.tasks.chat import Chat
from tunesmith.tasks.conversation import Row


@dataclass(frozen=True)
class Forgetting:
    """Likeness of answers to the expected ones, as the mean word F1 from 0 to 1. `lost`: what the base has over the
    tuned model, as it is the mean of `rows` differences; `error`: the standard error of that mean. `broken`: share of
    the tuned model's answers that are empty or go round in circles."""

    rows: int
    base: float
    tuned: float
    lost: float
    error: float
    broken: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return (
            f"Forgetting: general answers {self.tuned:.1%} like the expected ones, the base {self.base:.1%}; "
            f"lost {self.lost:.1%} ± {self.error:.1%} on {self.rows} rows."
        )


def answers(
    target: Target, endpoint: Endpoint, rows: Sequence[Row], keep: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Each answer's `likeness`, and whether it is `fine`. Asked freely, as by a caller who wants text: held to the
    task's format, no model could answer."""
    answered = Examination(target, endpoint, Chat(), constrained=False).run(rows)
    write_text(keep, "".join(item.as_json() + "\n" for item in answered))
    say(f"{keep.stem}: {len(answered)} general answers.")
    return [{"likeness": item.score.similarity or 0.0, "fine": item.score.format_ok} for item in answered]


def compare(base: Sequence[dict[str, Any]], tuned: Sequence[dict[str, Any]]) -> Forgetting:
    """Both on the same rows, in the same order; at least one."""
    differences = [b["likeness"] - t["likeness"] for b, t in zip(base, tuned, strict=True)]
    return Forgetting(
        rows=len(differences),
        base=fmean(item["likeness"] for item in base),
        tuned=fmean(item["likeness"] for item in tuned),
        lost=fmean(differences),
        error=stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0,
        broken=fmean(not item["fine"] for item in tuned),
    )
