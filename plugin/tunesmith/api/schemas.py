"""Shapes shared by several routers."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """OpenAI's cursor page: `after` the `last_id` comes the next one."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


def page(items: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of at most `limit`, made from up to `limit + 1` items."""
    shown = items[:limit]
    return {
        "object": "list",
        "data": shown,
        "has_more": len(items) > limit,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


class Open(BaseModel):
    """A response that may carry more than what is documented."""

    model_config = ConfigDict(extra="allow")


class Deleted(BaseModel):
    id: str
    object: str
    deleted: bool = True
