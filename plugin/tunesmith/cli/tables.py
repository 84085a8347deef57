"""Tables for people."""

from typing import Any

from rich import box
from rich.table import Table

LABELS = {
    "base_zero_shot": "base, zero-shot",
    "base_few_shot": "base, few-shot",
    "live": "live until now",
    "tuned": "tuned, as served",
}


def evaluation_table(report: dict[str, Any]) -> Table:
    """Format adherence, accuracy per field (of labels: macro-F1) and exact answers, a row per model."""
    measured: dict[str, dict[str, Any]] = report["measured"]
    labelled = any(figures.get("macro_f1") is not None for figures in measured.values())
    named = [name for figures in measured.values() for name in figures["fields"]]
    fields = [] if labelled else list(dict.fromkeys(named))  # labels can be many; the report has each
    where = "rows it was trained on" if report["in_sample"] else "held-out rows"
    table = Table(title=f"Measured on {report['rows']} {where}, as served", box=box.SIMPLE)
    overall = ["macro F1"] if labelled else []
    for heading in ("model", "in format", *fields, *overall, "all labels" if labelled else "all fields", "exact"):
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for name, figures in measured.items():
        shares = [figures["format_adherence"], *(figures["fields"].get(f, 0.0) for f in fields)]
        shares += [figures.get("macro_f1") or 0.0] if labelled else []
        shares += [figures["field_accuracy"], figures["exact"]]
        table.add_row(LABELS.get(name, name), *(f"{100 * share:.1f} %" for share in shares))
    captions = []
    if lost := report.get("forgetting"):
        captions.append(
            f"general answers: {100 * lost['tuned']:.1f} % like the expected ones, base {100 * lost['base']:.1f} %, "
            f"lost {100 * lost['lost']:.1f} ± {100 * lost['error']:.1f} points on {lost['rows']} rows"
        )
    mistakes = measured.get("tuned", {}).get("confusions", [])[:3]
    if mistakes:
        named = [f"{m['expected'] or 'nothing'} for {m['answered'] or 'nothing'} ({m['rows']})" for m in mistakes]
        captions.append("taken for another: " + ", ".join(named))
    table.caption = "\n".join(captions) or None
    return table
