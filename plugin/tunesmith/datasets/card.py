"""A data card in Markdown: what a version holds, where it comes from, what its gates say, and its limits."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.datasets.splits import EXTRAS, SPLITS
from tunesmith.datasets.synthetic.report import SyntheticReport
from tunesmith.tasks.conversation import read_rows


def card(name: str, folder: Path, report: Mapping[str, Any], licence: str | None = None) -> str:
    """The card of the version in `folder`, made from its report and from the provenance of its rows."""
    origins, pairs = _origins(folder)
    parts = [
        f"# {name}, version {report['version']}",
        f"{report['rows_kept']} rows for the task `{report['task']}`"
        + (f", {pairs} of them preference pairs" if pairs else "")
        + f"; {report['characters']['mean']} characters a row on average.",
        "## Splits\n\n" + _table(("split", "rows"), [*report["splits"].items(), *_beside(report)]),
        "## Where the rows come from\n\n" + _table(("origin", "rows"), origins.most_common(20)),
        "## What was left out\n\n" + _left_out(report),
        *_synthetic(report),
        "## Quality gates\n\n" + _gates(report),
        f"## Licence\n\n{_inline(licence) if licence else 'Unknown: nobody has stated one for this version.'}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _limits(report)),
    ]
    return "\n\n".join(parts) + "\n"


def _origins(folder: Path) -> tuple[Counter[str], int]:
    """Rows by origin, and how many are preference pairs."""
    origins: Counter[str] = Counter()
    pairs = 0
    for split in (*SPLITS, *(extra for extra in EXTRAS if (folder / f"{extra}.jsonl").exists())):
        for row in read_rows(folder / f"{split}.jsonl"):
            known = row.provenance
            words = [str(known[key]) for key in ("source", "generator", "file", "format") if known.get(key)]
            origins[", ".join(words) or "unknown"] += 1
            pairs += row.rejected is not None
    return origins, pairs


def _beside(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What lies beside the splits, and how many rows a model was asked first."""
    general, hard = report.get("general") or {}, report.get("hard_negatives") or {}
    counts = {
        f"general, trained on too ({general.get('source')})": general.get("rows", 0),
        "general, to measure forgetting": general.get("held_out", 0),
        f"of train, wrong by {hard.get('model')}: {hard.get('weight', 1):g} times the weight": hard.get("wrong", 0),
        f"right by {hard.get('model')} and set aside": hard.get("set_aside", 0),
        "preference pairs of corrections": report.get("preference_pairs", 0),
    }
    return [(what, count) for what, count in counts.items() if count]


def _synthetic(report: Mapping[str, Any]) -> list[str]:
    """What a teacher wrote, in a section of its own."""
    found = [SyntheticReport.model_validate(item) for item in report.get("synthetic", [])]
    lines = [f"- {item.sentence()} Teacher: {_inline(item.teacher or 'none')}." for item in found]
    return ["## Synthetic rows\n\n" + "\n".join(lines)] if lines else []


def _left_out(report: Mapping[str, Any]) -> str:
    counts = [
        ("exact duplicates", report["duplicates_removed"]),
        ("near-duplicates", report["near_duplicates_removed"]),
        ("too like a test row", report["leaks_removed"]),
    ]
    counts += [(f"refused: {code}", count) for code, count in report["rejected_by_code"].items()]
    return f"Of {report['rows_in']} rows:\n\n" + _table(("why", "rows"), counts)


def _gates(report: Mapping[str, Any]) -> str:
    rows = [
        (
            gate["name"],
            f"{gate['value']:g}",
            f"{gate['bound'].replace('_', ' ')} {gate['threshold']:g}",
            "met" if gate["passed"] else "**not met**" if gate["required"] else "warning",
            gate["meaning"],
        )
        for gate in report["gates"]
    ]
    return _table(("gate", "value", "limit", "", "meaning"), rows)


def _limits(report: Mapping[str, Any]) -> list[str]:
    limits = ["The rows say what their source says; nobody has checked them for truth."]
    if report["in_sample"]:
        limits.append("There is no test split: figures are measured on rows that were trained on.")
    if report["groups_shared_with_test"]:
        limits.append(f"{report['groups_shared_with_test']} groups have rows in the test split and in another.")
    failed = [gate["name"] for gate in report["gates"] if not gate["passed"]]
    if failed:
        limits.append(f"Gates that are not met: {', '.join(failed)}.")
    return limits


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_inline(str(cell)) for cell in line) + " |" for line in lines)


def _inline(text: str) -> str:
    """Text that stays in its place in Markdown, whatever a file is called."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
