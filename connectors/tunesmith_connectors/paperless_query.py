"""`custom_field_query`: checked before it is sent, because Paperless' own refusal does not say what would be right."""

from typing import Any

from tunesmith_connectors.paperless_values import Lookups, PaperlessError

_OPERATORS: dict[str, set[str]] = {
    "basic": {"exact", "in", "isnull", "exists"},
    "string": {"icontains", "istartswith", "iendswith"},
    "arithmetic": {"gt", "gte", "lt", "lte", "range"},
    "containment": {"contains"},
}
_BY_TYPE: dict[str, tuple[str, ...]] = {
    "string": ("basic", "string"),
    "longtext": ("basic", "string"),
    "url": ("basic", "string"),
    "date": ("basic", "arithmetic"),
    "boolean": ("basic",),
    "integer": ("basic", "arithmetic"),
    "float": ("basic", "arithmetic"),
    "monetary": ("basic", "string", "arithmetic"),
    "documentlink": ("basic", "containment"),
    "select": ("basic",),
}


_DATE_PARTS = ("year", "iso_year", "month", "day", "week", "week_day", "iso_week_day", "quarter")


def checked_query(query: Any, lookups: Lookups) -> list[Any]:
    """A `custom_field_query`, checked as Paperless would, with ids in place of names: Paperless tells case apart.

    `["Total", "gt", 10]`, `["Due", "year__exact", 2025]`, `["AND", [q, …]]`, `["OR", [q, …]]`, `["NOT", q]`. Raises
    PaperlessError naming the part.
    """
    conditions: list[int] = []
    checked = _checked(query, lookups, conditions, 0)
    if len(conditions) > 20:
        raise _wrong("more than 20 conditions.")
    return checked


def _checked(query: Any, lookups: Lookups, conditions: list[int], depth: int) -> list[Any]:
    """`conditions` gathers the fields that are asked for."""
    if depth > 9:
        raise _wrong("nested deeper than 10.")
    if not isinstance(query, list | tuple) or len(query) not in (2, 3):
        raise _wrong(f"{query!r} is neither a condition nor a combination.")
    if len(query) == 2:
        operator, inner = query
        if str(operator).upper() == "NOT":
            return ["NOT", _checked(inner, lookups, conditions, depth + 1)]
        if str(operator).upper() not in ("AND", "OR") or not isinstance(inner, list | tuple) or not inner:
            raise _wrong(f"{operator!r} is not AND, OR or NOT over a list.")
        return [str(operator).upper(), [_checked(part, lookups, conditions, depth + 1) for part in inner]]
    name, operator, value = query
    number = name if isinstance(name, int) else lookups.ids("custom_fields", [str(name)])[0]
    custom = lookups.custom_fields.get(number)
    if custom is None:
        raise _wrong(f"there is no custom field {name!r}.")
    conditions.append(number)
    allowed = set().union(*(_OPERATORS[group] for group in _BY_TYPE.get(custom.data_type, ("basic",))))
    part, _, rest = str(operator).rpartition("__")
    if rest not in allowed or (part and (custom.data_type != "date" or part not in _DATE_PARTS)):
        raise _wrong(f"{operator!r} does not go with a {custom.data_type} field; use {', '.join(sorted(allowed))}.")
    return [number, operator, value]


def _wrong(what: str) -> PaperlessError:
    return PaperlessError(
        f"custom_field_query: {what}",
        code="bad_query",
        hint='Write ["Field", "gt", 10], or ["AND", [[...], [...]]], ["OR", [...]], ["NOT", [...]].',
    )
