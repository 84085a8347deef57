"""Tables for people."""

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

LABELS = {
    "base_zero_shot": "base, zero-shot",
    "base_few_shot": "base, few-shot",
    "live": "live until now",
    "tuned": "tuned, as served",
}


def evaluation_table(report: dict[str, Any]) -> Table:
    """Format adherence, accuracy per field (of labels: macro-F1) and exact answers, a row per model; and what is right
    by each further route, a column per route."""
    measured: dict[str, dict[str, Any]] = report["measured"]
    labelled = any(figures.get("macro_f1") is not None for figures in measured.values())
    named = [name for figures in measured.values() for name in figures["fields"]]
    fields = [] if labelled else list(dict.fromkeys(named))  # labels can be many; the report has each
    further = _further_routes(report)
    where = "rows it was trained on" if report["in_sample"] else "held-out rows"
    table = Table(title=f"Measured on {report['rows']} {where}, as served", box=box.SIMPLE)
    overall = ["macro F1"] if labelled else []
    everything = "all labels" if labelled else "all fields"
    columns = ("model", "in format", *fields, *overall, everything, "exact", *(r["label"] for r in further.values()))
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for name, figures in measured.items():
        shares = [figures["format_adherence"], *(figures["fields"].get(f, 0.0) for f in fields)]
        shares += [figures.get("macro_f1") or 0.0] if labelled else []
        shares += [figures["field_accuracy"], figures["exact"]]
        by_route = [_percent(route[name]["field_accuracy"]) if route.get(name) else "" for route in further.values()]
        table.add_row(LABELS.get(name, name), *map(_percent, shares), *by_route)
    table.caption = "\n".join(_captions(report, everything, further)) or None
    return table


def usage_lines(usage: dict[str, Any]) -> list[str]:
    """How each kind of caller asks the model, a line per route."""
    lines = []
    for how in usage.values():
        send = "".join(f" with {key} {value}" for key, value in how["send"].items())
        lines.append(f"  {how['label']}: {how['url']}, model {how['model']}{send}. [dim]{escape(how['note'])}[/]")
    return ["How to ask it:", *lines] if lines else []


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _further_routes(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that are asked otherwise than Tunesmith's own."""
    routes: dict[str, dict[str, Any]] = report.get("routes") or {}
    return {name: route for name, route in routes.items() if name != "tunesmith" and not route["same_as"]}


def _captions(report: dict[str, Any], everything: str, further: dict[str, dict[str, Any]]) -> list[str]:
    captions = []
    if further:
        captions.append(f"{', '.join(r['label'] for r in further.values())}: {everything} by that route")
    if there := report.get("live_rows"):
        captions.append(_on_live_rows(there))
    if lost := report.get("forgetting"):
        captions.append(
            f"general answers: {100 * lost['tuned']:.1f} % like the expected ones, base {100 * lost['base']:.1f} %, "
            f"lost {100 * lost['lost']:.1f} ± {100 * lost['error']:.1f} points on {lost['rows']} rows"
        )
    mistakes = report["measured"].get("tuned", {}).get("confusions", [])[:3]
    if mistakes:
        named = [f"{m['expected'] or 'nothing'} for {m['answered'] or 'nothing'} ({m['rows']})" for m in mistakes]
        captions.append("taken for another: " + ", ".join(named))
    return captions


def _on_live_rows(there: dict[str, Any]) -> str:
    own = there["routes"]["tunesmith"]
    before, now = (_percent(own[who]["field_accuracy"]) for who in ("live", "tuned"))
    return f"on the {there['rows']} rows of the version that was live: {now}, that version {before}"
