"""Bodies in which true is no number and 0 is not false: pydantic takes the one for the other, JSON Schema does not."""

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, model_validator


class Typed(BaseModel):
    """What callers send. Text that reads as a number or as true is taken as before: forms of programs send it."""

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, data: Any) -> Any:
        for name, kinds in _kinds(cls).items() if isinstance(data, Mapping) else ():
            value, numbers = data.get(name), kinds & {int, float}
            if isinstance(value, bool) and numbers and bool not in kinds:
                raise ValueError(f"{name} is a number, not true or false")
            if type(value) in (int, float) and bool in kinds and not numbers:
                raise ValueError(f"{name} is true or false, not a number")
        return data


@cache
def _kinds(model: type[BaseModel]) -> dict[str, set[Any]]:
    return {field.alias or name: _leaves(field.annotation) for name, field in model.model_fields.items()}


def _leaves(annotation: Any) -> set[Any]:
    """The types of which a value may be one."""
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_leaves, get_args(annotation)))
    return {annotation}
