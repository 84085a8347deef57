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
    """Format adherence, accuracy per field and exact answers, a row per model."""
    measured: dict[str, dict[str, Any]] = report["measured"]
    fields = list(dict.fromkeys(name for figures in measured.values() for name in figures["fields"]))
    where = "rows it was trained on" if report["in_sample"] else "held-out rows"
    table = Table(title=f"Measured on {report['rows']} {where}, as served", box=box.SIMPLE)
    for heading in ("model", "in format", *fields, "all fields", "exact"):
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for name, figures in measured.items():
        shares = [figures["format_adherence"], *(figures["fields"].get(f, 0.0) for f in fields)]
        shares += [figures["field_accuracy"], figures["exact"]]
        table.add_row(LABELS.get(name, name), *(f"{100 * share:.1f} %" for share in shares))
    return table
