"""Which labels a model takes for which."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

Labels = tuple[list[str], list[str]]  # expected, answered
MOST = 20  # pairs that a report lists


def macro_f1(pairs: Sequence[Labels]) -> float:
    """Mean over the expected labels of their F1, from 0 to 1: a rare label counts as much as a frequent one."""
    expected, answered, right = (Counter[str]() for _ in range(3))
    for wanted, got in pairs:
        expected.update(set(wanted))
        answered.update(set(got))
        right.update(set(wanted) & set(got))
    scores = [2 * right[label] / (expected[label] + answered[label]) for label in expected]
    return sum(scores) / len(scores) if scores else 0.0


def confusions(pairs: Sequence[Labels]) -> list[dict[str, Any]]:
    """The most frequent mistakes: {"expected", "answered", "rows"}; null stands for a label too few or too many."""
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for wanted, got in pairs:
        missed, invented = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
        if len(missed) == len(invented) == 1:
            counts[missed[0], invented[0]] += 1
            continue
        counts.update((label, None) for label in missed)
        counts.update((None, label) for label in invented)
    return [{"expected": a, "answered": b, "rows": rows} for (a, b), rows in counts.most_common(MOST)]
