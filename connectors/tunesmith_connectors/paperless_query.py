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


def check_query(query: Any, lookups: Lookups, depth: int = 0) -> int:
    """Checks a `custom_field_query` as Paperless would; returns how many conditions it has.

    `["Total", "gt", 10]`, `["AND", [q, …]]`, `["OR", [q, …]]`, `["NOT", q]`. Raises PaperlessError naming the part.
    """

    def wrong(what: str) -> PaperlessError:
        return PaperlessError(
            f"custom_field_query: {what}",
            code="bad_query",
            hint='Write ["Field", "gt", 10], or ["AND", [[...], [...]]], ["OR", [...]], ["NOT", [...]].',
        )

    if depth > 9:
        raise wrong("nested deeper than 10.")
    if not isinstance(query, list | tuple) or len(query) not in (2, 3):
        raise wrong(f"{query!r} is neither a condition nor a combination.")
    if len(query) == 2:
        operator, inner = query
        if str(operator).upper() == "NOT":
            return check_query(inner, lookups, depth + 1)
        if str(operator).upper() not in ("AND", "OR") or not isinstance(inner, list | tuple) or not inner:
            raise wrong(f"{operator!r} is not AND, OR or NOT over a list.")
        count = sum(check_query(part, lookups, depth + 1) for part in inner)
        if count > 20:
            raise wrong("more than 20 conditions.")
        return count
    name, operator, _ = query
    number = name if isinstance(name, int) else lookups.ids("custom_fields", [str(name)])[0]
    custom = lookups.custom_fields.get(number)
    if custom is None:
        raise wrong(f"there is no custom field {name!r}.")
    allowed = set().union(*(_OPERATORS[group] for group in _BY_TYPE.get(custom.data_type, ("basic",))))
    if operator not in allowed:
        raise wrong(f"{operator!r} does not go with a {custom.data_type} field; use {', '.join(sorted(allowed))}.")
    return 1
