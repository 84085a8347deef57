"""Paperless-ngx's wire form (API version 9) → Python values: lookups, custom fields, documents."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any, Self

LOOKUPS = ("tags", "correspondents", "document_types", "storage_paths", "custom_fields")
MAX_STRING = 128
_MONEY = re.compile(r"^([A-Za-z]{3})?\s*(-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++))$")


class PaperlessError(Exception):
    """`code` is stable, `hint` says what to do next; `retryable`: the same call may go through later."""

    def __init__(self, message: str, *, code: str, hint: str, retryable: bool = False, status: int | None = None):
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.retryable = retryable
        self.status = status


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str | None

    def __str__(self) -> str:
        return f"{self.currency or ''}{self.amount:.2f}"


@dataclass(frozen=True)
class CustomField:
    id: int
    name: str
    data_type: str
    options: Mapping[str, str] = field(default_factory=dict)  # select: option id → label
    currency: str | None = None

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        extra = wire.get("extra_data") or {}
        options: dict[str, str] = {}
        for position, option in enumerate(extra.get("select_options") or []):
            if isinstance(option, Mapping):
                options[str(option.get("id"))] = str(option.get("label"))
            else:  # before 2.16 options were bare labels, referred to by position
                options[str(position)] = str(option)
        return cls(int(wire["id"]), str(wire["name"]), str(wire["data_type"]), options, extra.get("default_currency"))

    def to_wire(self, value: Any) -> Any:
        """What `value` gave, or the same said in text (a date, an amount, a label), as the API takes it.

        Money keeps its currency, else takes the field's. Raises ValueError when this field cannot hold it.
        """
        if value is None or value == "":
            return None
        match self.data_type:
            case "monetary":
                money = value if isinstance(value, Money) else parse_money(value, self.currency)
                return f"{money.currency or ''}{money.amount:.2f}"
            case "date":
                return value.isoformat() if isinstance(value, date) else date.fromisoformat(str(value)).isoformat()
            case "select":
                found = [i for i, label in self.options.items() if label.casefold() == str(value).casefold()]
                if not found:
                    raise ValueError(f"{value!r} is none of {', '.join(self.options.values())}")
                return found[0]
            case "boolean":
                if not isinstance(value, bool):
                    raise ValueError(f"{value!r} is no boolean")
                return value
            case "integer":
                if float(value) != int(value):
                    raise ValueError(f"{value!r} is no integer")
                return int(value)
            case "float":
                return float(value)
            case "documentlink":
                return [int(i) for i in value]
            case "string" if len(str(value)) > MAX_STRING:
                raise ValueError(f"longer than the {MAX_STRING} characters of a text field")
            case _:
                return str(value)

    def value(self, wire: Any) -> Any:
        """The wire value as str, bool, int, float, date, Money, list of document ids, or None.

        Raises ValueError when it is not what a field of this type can hold.
        """
        if wire in (None, "", []):  # no links are no value
            return None
        match self.data_type:
            case "monetary":
                return parse_money(wire, self.currency)
            case "date":
                return date.fromisoformat(str(wire)[:10])
            case "boolean":
                if not isinstance(wire, bool):
                    raise ValueError(f"{wire!r} is no boolean")
                return wire
            case "integer":
                return int(wire)
            case "float":
                return float(wire)
            case "documentlink":
                return [int(i) for i in wire]
            case "select":
                return self.options.get(str(wire))
            case _:  # string, longtext, url, and what later versions may add
                return wire if isinstance(wire, str) else str(wire)


def parse_money(wire: Any, default_currency: str | None = None) -> Money:
    """`99.50`, `12`, `EUR99.5`, `USD-3.00` or a number. Raises ValueError on anything else."""
    match = _MONEY.match(str(wire).strip())
    try:
        if match:
            return Money(Decimal(match[2]), match[1].upper() if match[1] else default_currency)
    except InvalidOperation:
        pass
    raise ValueError(f"{wire!r} is no amount of money")


@dataclass
class Lookups:
    """Names behind the ids that documents carry. A token may see a document whose correspondent it may not list."""

    tags: dict[int, str] = field(default_factory=dict)
    correspondents: dict[int, str] = field(default_factory=dict)
    document_types: dict[int, str] = field(default_factory=dict)
    storage_paths: dict[int, str] = field(default_factory=dict)
    custom_fields: dict[int, CustomField] = field(default_factory=dict)

    @classmethod
    def of(cls, wire: Mapping[str, Iterable[Mapping[str, Any]]]) -> Self:
        """From the API's lists by kind."""
        lookups = cls()
        for kind, results in wire.items():
            lookups.add(kind, results)
        return lookups

    def add(self, kind: str, results: Iterable[Mapping[str, Any]]) -> None:
        """`kind` is one of LOOKUPS; `results` as the API lists them."""
        if kind == "custom_fields":
            self.custom_fields = {f.id: f for f in map(CustomField.from_wire, results)}
        elif kind in LOOKUPS:
            setattr(self, kind, {int(item["id"]): str(item["name"]) for item in results})
        else:
            raise ValueError(f"unknown lookup {kind!r}")

    def ids(self, kind: str, names: Iterable[str]) -> list[int]:
        """Ids of names (case does not matter). Raises PaperlessError that lists what is there."""
        known: dict[int, str] = (
            {i: f.name for i, f in self.custom_fields.items()} if kind == "custom_fields" else getattr(self, kind)
        )
        by_name = {name.casefold(): i for i, name in known.items()}
        found = []
        for name in names:
            if str(name).casefold() not in by_name:
                there = ", ".join(sorted(known.values())[:30]) or "none that this token may see"
                raise PaperlessError(
                    f"Paperless has no {kind.replace('_', ' ')[:-1]} called {name!r}.",
                    code="unknown_name",
                    hint=f"There is: {there}.",
                )
            found.append(by_name[str(name).casefold()])
        return found


@dataclass(frozen=True)
class PaperlessDocument:
    id: int
    title: str
    content: str
    created: date | None
    added: datetime | None
    modified: str
    correspondent: str | None
    correspondent_id: int | None
    document_type: str | None
    storage_path: str | None
    tags: list[str]
    custom_fields: dict[str, Any]  # by name; a field that the document does not carry is absent
    original_file_name: str | None
    problems: list[str]  # values that could not be read, in words

    @property
    def stored_name(self) -> str:
        """The file as Paperless names it by default: what its own AI is shown, and tells nothing of the content."""
        return f"{self.id:07}{PurePosixPath(self.original_file_name or '').suffix.lower() or '.pdf'}"

    def money(self) -> dict[str, Money]:
        return {name: value for name, value in self.custom_fields.items() if isinstance(value, Money)}


def read_document(wire: Mapping[str, Any], lookups: Lookups) -> PaperlessDocument:
    """One document of the API with ids replaced by names. Raises ValueError or KeyError when it is none."""
    problems: list[str] = []
    fields: dict[str, Any] = {}
    for item in wire.get("custom_fields") or []:
        known = lookups.custom_fields.get(item["field"])
        if known is None:
            continue
        try:
            fields[known.name] = known.value(item.get("value"))
        except (ValueError, TypeError) as error:
            problems.append(f"custom field {known.name}: {error}")
    created, added = wire.get("created"), wire.get("added")
    correspondent = wire.get("correspondent")
    return PaperlessDocument(
        id=int(wire["id"]),
        title=str(wire.get("title") or ""),
        content=str(wire.get("content") or ""),
        created=date.fromisoformat(created[:10]) if created else None,
        added=datetime.fromisoformat(added) if added else None,
        modified=str(wire.get("modified") or ""),
        correspondent=lookups.correspondents.get(correspondent) if correspondent else None,
        correspondent_id=correspondent,
        document_type=lookups.document_types.get(wire.get("document_type") or 0),
        storage_path=lookups.storage_paths.get(wire.get("storage_path") or 0),
        tags=[lookups.tags[t] for t in wire.get("tags") or [] if t in lookups.tags],
        custom_fields=fields,
        original_file_name=wire.get("original_file_name"),
        problems=problems,
    )
