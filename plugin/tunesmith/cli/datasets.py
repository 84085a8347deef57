"""`tunesmith datasets`: import, look at, compare and export dataset versions. Needs no running service."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tunesmith.cli.inspect import JsonFlag, open_workspace, print_rows
from tunesmith.datasets.synthetic.report import SyntheticReport
from tunesmith.errors import BadInput, NotFound

datasets = typer.Typer(help="Datasets and their versions.", no_args_is_help=True)

Version = Annotated[str | None, typer.Option(help="Start of a version's id. Default: the newest.")]


@datasets.command("import")
def import_dataset(
    name: str,
    file: Annotated[str, typer.Argument(help="JSONL, JSON, CSV or Parquet; or hf:owner/name.")],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="prompt=COLUMN, completion=COLUMN, …; or one JSON object.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only show the report; nothing is stored.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a version from a file. Its format is detected; every row that cannot be read is listed with the reason."""
    from tunesmith.datasets.formats.columns import parse_mapping
    from tunesmith.datasets.formats.hub import PREFIX
    from tunesmith.recipes import datasets as service

    columns, path = parse_mapping(mapping or []), Path(file)
    if file.startswith(PREFIX):
        report = service.import_hub(open_workspace(), name, file, columns, dry_run)
    elif path.is_file():
        report = service.import_file(open_workspace(), name, path, mapping=columns, dry_run=dry_run)
    else:
        raise NotFound(f"There is no file {file!r}.", hint=f"A dataset of the hub is written {PREFIX}owner/name.")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)


@datasets.command("synthesize")
def synthesize_dataset(
    name: str,
    file: Annotated[Path, typer.Argument(help="YAML: synthetic, and task and base_model if need be, as in a recipe.")],
    as_json: JsonFlag = False,
) -> None:
    """Make the next version with rows that a teacher writes: like: dataset, schema or tools."""
    import yaml
    from pydantic import ValidationError

    from tunesmith.cli.run import follow_run, read_tools
    from tunesmith.datasets.synthetic.options import SyntheticOptions
    from tunesmith.recipes import runs
    from tunesmith.recipes.schema import TaskSpec

    workspace = open_workspace()
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        read_tools(file.parent, given)
        options = SyntheticOptions.model_validate(given.pop("synthetic"))
        task = TaskSpec.model_validate(given.pop("task", {}))
        run = runs.synthesize_dataset(workspace, name, options, task=task, base_model=given.pop("base_model", None))
    except (OSError, yaml.YAMLError, ValidationError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{file} says no synthetic rows: {error}", hint="Write synthetic: {like: schema}.") from error
    status = follow_run(workspace, run, json_output=as_json)
    if status == 0 and not as_json:
        show_dataset(name)
    raise typer.Exit(status)


@datasets.command("list")
def list_datasets(as_json: JsonFlag = False) -> None:
    """Versions of all datasets, newest first."""
    from tunesmith.recipes import datasets as service

    rows = [service.view(row) for row in service.list_datasets(open_workspace())]
    for row in rows:
        row["rows"], row["task"] = row["report"]["rows_kept"], row["report"]["task"]
    print_rows(rows, ("name", "version", "rows", "task", "run_id"), as_json)


@datasets.command("show")
def show_dataset(name: str, version: Version = None, as_json: JsonFlag = False) -> None:
    """The report of a version."""
    from tunesmith.recipes import datasets as service

    row = service.view(service.get_version(open_workspace(), name, version))
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        _print_report({"name": name, **row["report"]})


@datasets.command("export")
def export_dataset(
    name: str,
    output: Annotated[Path, typer.Option(help="A file; for llamafactory and axolotl a new folder.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="sharegpt, messages, alpaca, prompt_completion, preference, csv, parquet, llamafactory or axolotl.",
        ),
    ] = "sharegpt",
    version: Version = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test. Default: all, in this order.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a version as other programs read it."""
    from tunesmith.recipes import datasets as service

    report = service.export_dataset(open_workspace(), name, form, output, version=version, split=split)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['rows']} rows of {name} {report['version']} in {report['path']}")
    for reason, count in report["skipped"].items():
        print(f"  left out {count}: {form} cannot hold a row that {reason}")
    for what, count in report["lost"].items():
        print(f"  {form} cannot hold the {what} of {count} rows")


@datasets.command("diff")
def diff_datasets(
    name: Annotated[str, typer.Argument(help="A dataset, or NAME@VERSION.")],
    old: Annotated[str | None, typer.Argument(help="A version. Default: the one before NEW.")] = None,
    new: Annotated[str | None, typer.Argument(help="A version, or NAME@VERSION. Default: the newest.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Rows added, removed, moved to another split and answered otherwise. NAME A B, NAME, or NAME@A NAME@B."""
    from tunesmith.recipes import datasets as service

    name, _, at = name.partition("@")
    if at:
        old, new = at, old if new is None else new
    other, _, new_version = new.partition("@") if new and "@" in new else ("", "", new)
    changes = service.diff_datasets(open_workspace(), name, old, new_version, other=other or None)
    if as_json:
        print(json.dumps(changes, indent=2))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{changes['old']} → {changes['new']}: {changes['unchanged']} rows unchanged")
    for kind in ("added", "removed", "changed", "moved"):
        counts = ", ".join(f"{count} {split}" for split, count in changes[kind].items())
        console.print(f"{kind}: {counts or 'none'}")
        for example in changes["examples"][kind]:
            answers = [repr(example[key]) for key in ("old_answer", "new_answer") if key in example]
            console.print(f"  {example['prompt']!r}: {' → '.join(dict.fromkeys(answers))}")


@datasets.command("card")
def show_card(
    name: str,
    version: Version = None,
    licence: Annotated[str | None, typer.Option(help="What the card says of the licence.")] = None,
) -> None:
    """The data card in Markdown."""
    from tunesmith.recipes import datasets as service

    print(service.dataset_card(open_workspace(), name, version, licence), end="")


def _print_report(report: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    splits = ", ".join(f"{count} {split}" for split, count in report["splits"].items())
    console.print(f"{report['name']} {report['version']} ({report['task']}): {splits}")
    refused, twice = sum(report["rejected_by_code"].values()), report["duplicates_removed"]
    alike = report["near_duplicates_removed"]
    console.print(
        f"{report['rows_in']} rows in, {refused} refused, {twice} duplicates, {alike} near-duplicates, "
        f"{report['rows_kept']} kept"
    )
    for item in report["rejected"][:20]:
        console.print(f"  {item['reason']}")
    if refused > 20:
        console.print(f"  … and {refused - 20} more: --json lists them.")
    if hard := report.get("hard_negatives"):
        console.print(
            f"{hard['model']} got {hard['wrong']} of {hard['asked']} training rows wrong: they count "
            f"{hard['weight']:g} times; {hard['set_aside']} others set aside"
        )
    if general := report.get("general"):
        console.print(
            f"{general['rows']} general rows of {general['source']} ({general['share']:.0%} of training), "
            f"{general['held_out']} kept to measure forgetting"
        )
    for gate in report["gates"]:
        mark = "ok" if gate["passed"] else "NOT MET" if gate["required"] else "warning"
        bound = gate["bound"].replace("_", " ")
        console.print(f"  {gate['name']}: {gate['value']:g} ({bound} {gate['threshold']:g}) {mark}")
    for item in report.get("synthetic", []):
        console.print(SyntheticReport.model_validate(item).sentence())
    for sentence in report["readiness"]["advice"]:
        console.print(sentence)
