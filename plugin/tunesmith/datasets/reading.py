"""Files as they were sent, read in a child process with limits. What runs there takes and gives JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.datasets import formats, sources
from tunesmith.datasets.build import build
from tunesmith.datasets.formats import FileReport
from tunesmith.datasets.report import DatasetReport
from tunesmith.jobs import limited

_LEAST_SECONDS, _BYTES_A_SECOND = 60.0, 20_000  # of the processor: ten times what rows of usual size take
_LEAST_MEMORY, _MEMORY_A_BYTE = 512 * 2**20, 64


def limits_for(path: Path, most_memory: int) -> limited.Limits:
    """In proportion to the file's size: what is small may not unpack to what is large."""
    size = path.stat().st_size
    memory = min(most_memory, _LEAST_MEMORY + _MEMORY_A_BYTE * size)
    return limited.Limits(_LEAST_SECONDS + size / _BYTES_A_SECOND, memory)


def check_upload(path: Path, purpose: str, *, folder: Path, most_memory: int) -> dict[str, Any]:
    """What `read_upload` says. `folder`: for what parent and child tell each other. Raises BadInput, TooLarge."""
    arguments = {"path": str(path), "purpose": purpose}
    report: dict[str, Any] = limited.run(
        f"{__name__}:read_upload", arguments, folder=folder, limits=limits_for(path, most_memory)
    )
    return report


def build_import(
    path: Path,
    filename: str,
    mapping: Mapping[str, str] | None,
    earlier: Sequence[Path],
    *,
    folder: Path,
    most_memory: int,
) -> DatasetReport:
    """The version that an imported file makes, in `folder`/dataset. Raises BadInput, TooLarge."""
    arguments = {
        "path": str(path),
        "filename": filename,
        "mapping": dict(mapping) if mapping else None,
        "earlier": [str(place) for place in earlier],
        "out": str(folder / "dataset"),
    }
    report = limited.run(f"{__name__}:read_import", arguments, folder=folder, limits=limits_for(path, most_memory))
    return DatasetReport.model_validate(report)


# -- in the child ---------------------------------------------------------------------------------------------------


def read_upload(path: str, purpose: str) -> dict[str, Any]:
    check = sources.validate_documents if purpose == "documents" else formats.validate_file
    report: FileReport = check(Path(path))
    return report.as_dict()


def read_import(
    path: str, filename: str, mapping: Mapping[str, str] | None, earlier: Sequence[str], out: str
) -> dict[str, Any]:
    rows = sources.imported(Path(path), filename, mapping)
    report = build(None, rows=rows, out=Path(out), earlier=[Path(place) for place in earlier], remove_copies=True)
    return report.model_dump(mode="json")
