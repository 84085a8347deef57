"""One registry per kind of plug-in. Built-ins and third parties are found alike, by Python entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from tunesmith.errors import NotFound

T = TypeVar("T")


class Registry(Generic[T]):
    """Names → classes of one entry point group. Listing imports nothing; `get` imports the one that is asked for."""

    def __init__(self, group: str, noun: str):
        self.group = group
        self.noun = noun

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        return sorted(self._points())

    def get(self, name: str) -> type[T]:
        points = self._points()
        if name not in points:
            raise NotFound(
                f"No {self.noun} is called {name!r}.",
                code=f"unknown_{self.noun}",
                hint=f"Use one of: {', '.join(sorted(points))}.",
            )
        return cast(type[T], points[name].load())
