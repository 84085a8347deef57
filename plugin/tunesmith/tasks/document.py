"""A document as it comes from a source, before a task turns it into a training example."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

Value = str | int | float | bool | Decimal | date | list[Any] | None


@dataclass
class Document:
    """`values` are the labels people gave it (field name → value); `text` is what the model gets to see.

    `group` never straddles two splits (a correspondent or a layout family); empty: the text decides. `weight`: how
    much the row counts in training.
    """

    id: str
    text: str
    values: dict[str, Value] = field(default_factory=dict)
    group: str = ""
    tags: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
