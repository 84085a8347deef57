"""Datasets: import, list, keep. The operations that the API, the agents' tools and the command line share."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from tunesmith.datasets import reading, sources
from tunesmith.datasets.build import build
from tunesmith.datasets.card import card
from tunesmith.datasets.diff import diff
from tunesmith.datasets.export import FOLDERS, export
from tunesmith.datasets.report import DatasetReport
from tunesmith.errors import BadInput, NotFound
from tunesmith.recipes import files
from tunesmith.recipes.schema import Name
from tunesmith.store.files import put_in_place, read_json
from tunesmith.store.tables import DatasetVersion
from tunesmith.store.workspace import Workspace


def import_file(
    workspace: Workspace,
    name: str,
    path: Path,
    *,
    filename: str | None = None,
    mapping: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Make a version of the dataset `name` from a file; returns `name` and the report. `dry_run` keeps nothing.

    Good rows are kept and bad ones listed. The same file under the same file name gives the same version. Raises
    BadInput when nothing can be read, for rows of two formats, or for a wrong mapping; then nothing is stored.
    """

    def made(scratch: Path, earlier: list[Path]) -> DatasetReport:
        given = Path(filename or path.name).name[:255]
        most = workspace.settings.max_read_memory_mb * 2**20
        return reading.build_import(path, given, mapping, earlier, folder=scratch, most_memory=most)

    return _import(workspace, name, made, dry_run)


def import_hub(
    workspace: Workspace, name: str, identifier: str, mapping: Mapping[str, str] | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """As `import_file`, from the Hugging Face hub: `hf:owner/name` or `hf:owner/name:split`."""

    def made(scratch: Path, earlier: list[Path]) -> DatasetReport:
        rows = sources.from_hub(identifier, mapping)
        return build(None, rows=rows, out=scratch / "dataset", earlier=earlier, remove_copies=True)

    return _import(workspace, name, made, dry_run)


def import_upload(
    workspace: Workspace,
    name: str,
    filename: str,
    chunks: Iterable[bytes],
    mapping: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """As `import_file`, from the bytes of an upload. Raises TooLarge too."""
    check_name(name)
    workspace.artifacts.require_space()
    with workspace.artifacts.scratch() as scratch:
        path = scratch / "upload"
        files.write_upload(path, chunks, workspace.settings.max_upload_mb * 2**20)
        return import_file(workspace, name, path, filename=filename, mapping=mapping, dry_run=dry_run)


def _import(
    workspace: Workspace, name: str, made: Callable[[Path, list[Path]], DatasetReport], dry_run: bool
) -> dict[str, Any]:
    """`made` builds the version in the folder `dataset` of the one that it is given."""
    check_name(name)
    workspace.artifacts.require_space()
    with workspace.artifacts.scratch() as scratch:
        report = made(scratch, folders(workspace, name))
        if not dry_run:
            keep(workspace, scratch / "dataset", report, name)
    return {"name": name, **report.as_dict()}


def check_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        hint = "Small letters, digits, dot, dash and underscore; at most 63."
        raise BadInput(f"A dataset cannot be called {name!r}.", code="bad_name", hint=hint, param="name") from error


def keep(
    workspace: Workspace, folder: Path, report: DatasetReport, name: str, run_id: str | None = None
) -> DatasetVersion:
    """Put a built version where versions live (same content, same place) and list it under `name`, as the newest."""
    place = workspace.artifacts.dataset(report.version)
    try:
        put_in_place(folder, place)
    except OSError:
        if not place.exists():
            raise
    listed = select(DatasetVersion).where(DatasetVersion.name == name, DatasetVersion.version == report.version)
    row = DatasetVersion(name=name, version=report.version, report=report.model_dump(mode="json"), run_id=run_id)
    with workspace.database.write() as session:
        if before := session.scalars(listed).first():
            row.run_id = run_id or before.run_id
            session.delete(before)
            session.flush()
        session.add(row)
    return row


def list_datasets(workspace: Workspace, limit: int = 200) -> list[DatasetVersion]:
    """Versions of all datasets, newest first."""
    with workspace.database.read() as session:
        return list(session.scalars(select(DatasetVersion).order_by(DatasetVersion.id.desc()).limit(limit)))


def list_versions(workspace: Workspace, name: str) -> list[DatasetVersion]:
    """The versions of one dataset, newest first. Raises NotFound."""
    query = select(DatasetVersion).where(DatasetVersion.name == name).order_by(DatasetVersion.id.desc())
    with workspace.database.read() as session:
        rows = list(session.scalars(query))
        known = list(session.scalars(select(DatasetVersion.name).distinct().limit(20)))
    if not rows:
        hint = f"Datasets: {', '.join(known)}." if known else "Import one: tunesmith datasets import NAME FILE."
        raise NotFound(f"There is no dataset {name!r}.", hint=hint)
    return rows


def folders(workspace: Workspace, name: str, but_run: str | None = None) -> list[Path]:
    """Folders of the versions of a dataset, oldest first, without those that the run `but_run` built itself."""
    query = select(DatasetVersion).where(DatasetVersion.name == name).order_by(DatasetVersion.id)
    with workspace.database.read() as session:
        versions = [row.version for row in session.scalars(query) if but_run is None or row.run_id != but_run]
    return [place for version in versions if (place := workspace.artifacts.dataset(version)).exists()]


def get_version(workspace: Workspace, name: str, version: str | None = None) -> DatasetVersion:
    """The newest version, or the one whose id starts with `version`. Raises NotFound, BadInput."""
    rows = list_versions(workspace, name)
    if version is None:
        return rows[0]
    found = [row for row in rows if row.version.startswith(version)]
    if len(found) == 1 and version:
        return found[0]
    hint = f"Versions: {', '.join(row.version for row in rows[:10])}."
    if not found:
        raise NotFound(f"Dataset {name!r} has no version {version!r}.", hint=hint, param="version")
    raise BadInput(f"Several versions start with {version!r}.", hint=hint, param="version")


def export_dataset(
    workspace: Workspace, name: str, form: str, output: Path, *, version: str | None = None, split: str | None = None
) -> dict[str, Any]:
    """Write a version to `output`; returns where, how many rows, and how many the format cannot hold and why."""
    row = get_version(workspace, name, version)
    folder = workspace.artifacts.dataset(row.version)
    return {"name": name, "version": row.version, **export(folder, form, output, name=name, split=split).as_dict()}


def export_bytes(workspace: Workspace, name: str, form: str, version: str | None = None) -> int:
    """About how much room an export takes at most; one of several files is there once more as a ZIP."""
    folder = workspace.artifacts.dataset(get_version(workspace, name, version).version)
    rows = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    return rows * (4 if form in FOLDERS else 2)


def export_name(name: str, form: str) -> str:
    """What an exported file is called when nobody says."""
    suffix = {"csv": ".csv", "parquet": ".parquet"}.get(form, "" if form in FOLDERS else ".jsonl")
    return f"{name}-{form}{suffix}"


def diff_datasets(
    workspace: Workspace, name: str, old: str | None = None, new: str | None = None, *, other: str | None = None
) -> dict[str, Any]:
    """What changed from version `old` of `name` to version `new` of `other` (the same dataset when not given).

    Without `new`, the newest version; without `old`, the one before it.
    """
    after = get_version(workspace, other or name, new)
    if old is None:
        older = [row for row in list_versions(workspace, name) if row.id < after.id]
        if not older:
            raise BadInput(f"Dataset {name!r} has no version before {after.version}.", hint="Name two versions.")
        before = older[0]
    else:
        before = get_version(workspace, name, old)
    folders = [workspace.artifacts.dataset(row.version) for row in (before, after)]
    labels = (f"{before.name}@{before.version}", f"{after.name}@{after.version}")
    return diff(*folders, labels=labels).as_dict()


def dataset_card(workspace: Workspace, name: str, version: str | None = None, licence: str | None = None) -> str:
    """The data card of a version in Markdown, made anew from its report."""
    row = get_version(workspace, name, version)
    folder = workspace.artifacts.dataset(row.version)
    return card(name, folder, read_json(folder / "report.json"), licence)


def view(row: DatasetVersion) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "run_id": row.run_id,
        "created_at": int(row.created_at),
        "report": row.report,
    }
