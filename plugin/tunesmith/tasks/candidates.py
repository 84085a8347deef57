"""The closed list of values that a document offers a field, where there is one."""

from collections.abc import Sequence

from tunesmith.tasks.grounding import shaped
from tunesmith.tasks.schema import Field
from tunesmith.tasks.values import date_orders, mentions

MAX_CANDIDATES = 400


def candidates(field: Field, text: str) -> tuple[str, ...]:
    """Dates or amounts in canonical form, or stretches that look like the training answers.

    Empty: the document offers nothing of the kind, or too much, or the field has no closed list.
    """
    if field.grounding == "values":
        found: Sequence[str] = mentions(field.kind, text)
    elif field.grounding == "numbers" and field.shapes:
        found = shaped(text, field.shapes, field.lines)
        if field.dates:
            found = [value for value in found if date_orders(value) & set(field.dates)]
    else:
        return ()
    return (*found, *field.literals) if 0 < len(found) <= MAX_CANDIDATES else ()
