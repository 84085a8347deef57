"""Datasets of the Hugging Face hub, a row at a time."""

from collections.abc import Iterator
from typing import Any

from tunesmith.datasets.formats.base import Record
from tunesmith.datasets.formats.tables import plain
from tunesmith.errors import BadInput

PREFIX = "hf:"


def hub_records(identifier: str) -> Iterator[Record]:
    """Rows of `hf:owner/name` or `hf:owner/name:split` (train unless given), streamed. Raises BadInput with the cause.

    Needs the package `datasets`, and the network unless the dataset is in its cache.
    """
    name, _, split = identifier.removeprefix(PREFIX).partition(":")
    try:
        import datasets
    except ImportError as error:
        raise BadInput(
            "Reading from the Hugging Face hub needs the package datasets.",
            code="needs_datasets",
            hint="Install it: pip install 'tunesmith[train]'. Or import a file.",
        ) from error
    try:
        rows: Any = datasets.load_dataset(name, split=split or "train", streaming=True)
        for number, data in enumerate(rows, start=1):
            yield Record(number, {key: plain(value) for key, value in data.items()})
    except Exception as error:  # the hub client raises errors of half a dozen libraries
        raise BadInput(
            f"{identifier} cannot be read: {type(error).__name__}: {error}",
            code="hub_unreadable",
            hint="Is this machine online, and is the name owner/name or owner/name:split? Or import a file.",
            param="file",
        ) from error
