"""Are there enough rows, and different enough ones, for what they shall teach? Advice in plain sentences."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.datasets.report import Readiness
from tunesmith.datasets.splits import Entry

THIN_ROWS, THIN_SHARE = 20, 0.02  # a label or language with fewer rows, or a smaller share, is hardly learnt
MISHEARD = 3  # rows of a language; fewer are likely a detector's mistake
DOMINANT = 0.3  # share of the rows from which one group (a correspondent, a layout) rules what is learnt
FEW_GROUPS = 10
TEST_ROWS = 50  # fewer test rows leave an accuracy uncertain by more than ±14 points


@dataclass(frozen=True)
class Target:
    """Rows from which training is worth a try (from, to), and how many are recommended."""

    minimum: tuple[int, int]
    recommended: int
    what: str


TARGETS: dict[str, Target] = {
    "format": Target((100, 500), 1000, "a fixed output format"),
    "tone": Target((500, 1000), 5000, "a vocabulary or tone"),
    "narrow": Target((200, 500), 2000, "one narrow task"),
    "general": Target((5000, 5000), 50000, "following instructions in general"),
}
_BY_TASK = {"chat": "tone"}  # every other task is a narrow one


def assess(
    entries: Sequence[Entry],
    *,
    task: str,
    goal: str,
    languages: Mapping[str, int],
    labels: Mapping[str, Mapping[str, int]],
    test_rows: int,
) -> Readiness:
    """Readiness of the rows that were kept. `goal` "auto": by the task."""
    goal = _BY_TASK.get(task, "narrow") if goal == "auto" else goal
    target = TARGETS[goal]
    kept = [e for e in entries if not e.dropped]
    clusters = Counter(e.cluster for e in kept)
    groups = Counter(group for e in kept for group in e.groups)
    rows = len(clusters)
    level = _level(rows, target)
    needed = {
        "minimum": max(0, target.minimum[0] - rows),
        "recommended": max(0, target.recommended - rows),
    }
    diversity = {
        "effective_clusters": round(_effective(clusters.values()), 1),
        "effective_groups": round(_effective(groups.values()), 1),
        "languages": round(_evenness(languages.values()), 2),
        **{f"label {name}": round(_evenness(values.values()), 2) for name, values in labels.items()},
    }
    advice = [
        _size(rows, len(kept), level, target, needed),
        *_thin("language", {code: n for code, n in languages.items() if n >= MISHEARD}, len(kept)),
        *(line for name, values in labels.items() for line in _thin(name, values, len(kept))),
        *_groups(groups, len(kept)),
    ]
    if 0 < test_rows < TEST_ROWS:
        advice.append(f"Only {test_rows} rows are held out: a figure measured on them is rough. Hold out {TEST_ROWS}.")
    if not test_rows:
        advice.append("Nothing is held out: no figure will tell how the model does on rows it has not seen.")
    return Readiness(
        goal=goal,
        level=level,
        different_rows=rows,
        minimum=target.minimum,
        recommended=target.recommended,
        needed=needed,
        diversity=diversity,
        advice=advice,
    )


def _level(rows: int, target: Target) -> str:
    steps = [(target.recommended, "recommended"), (target.minimum[1], "workable"), (target.minimum[0], "minimum")]
    return next((level for least, level in steps if rows >= least), "too_few")


def _size(rows: int, kept: int, level: str, target: Target, needed: Mapping[str, int]) -> str:
    alike = f" ({kept} rows, some nearly the same)" if kept > rows else ""
    have = f"{rows} different rows{alike} for {target.what}"
    low, high = target.minimum
    usual = f"{low}–{high}" if low != high else f"{low}"
    if level == "recommended":
        return f"{have}: as many as recommended ({target.recommended})."
    if level == "too_few":
        return f"{have}: too few. Add {needed['minimum']} to begin ({usual}), {needed['recommended']} to have enough."
    return f"{have}: enough to begin ({usual}); {needed['recommended']} more are recommended ({target.recommended})."


def _thin(name: str, values: Mapping[str, int], rows: int) -> list[str]:
    """What is rare; a single value needs no word, "unknown" is not one."""
    known = {value: count for value, count in values.items() if value != "unknown"}
    wanted = max(THIN_ROWS, math.ceil(THIN_SHARE * rows))
    thin = sorted((count, value) for value, count in known.items() if count < wanted)
    if len(known) < 2 or not thin:
        return []
    listed = ", ".join(f"{value} ({count})" for count, value in thin[:8])
    more = f" and {len(thin) - 8} more" if len(thin) > 8 else ""
    return [f"Few rows of {name or 'answer'}: {listed}{more}. Add some until each has {wanted}, or leave it out."]


def _groups(groups: Counter[str], rows: int) -> list[str]:
    if not groups:
        return []
    (largest, count), *_ = groups.most_common(1)
    advice = []
    if count > DOMINANT * rows:
        advice.append(f"{largest} has {count / rows:.0%} of the rows: add documents of others, or fewer of it.")
    if len(groups) < FEW_GROUPS:
        advice.append(f"Only {len(groups)} groups (correspondents or layouts): others teach more than more of these.")
    return advice


def _effective(counts: Iterable[int]) -> float:
    """How many equally large groups would be as diverse: e to the entropy."""
    return math.exp(_entropy(list(counts)))


def _evenness(counts: Iterable[int]) -> float:
    sizes = list(counts)
    return _entropy(sizes) / math.log(len(sizes)) if len(sizes) > 1 else 0.0


def _entropy(sizes: Sequence[int]) -> float:
    total = sum(sizes)
    return -sum(n / total * math.log(n / total) for n in sizes if n) if total else 0.0
