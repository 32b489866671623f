"""A mapping that does not change."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NoReturn, TypeVar

V = TypeVar("V", bound=Hashable)


class FrozenDict(dict[str, V]):
    """A dict that does not change, and can be pickled, which a mappingproxy cannot."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("these values do not change")

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[V]], tuple[dict[str, V]]]:
        return FrozenDict, (dict(self),)


def frozen(values: Mapping[str, V]) -> FrozenDict[V]:
    """Return *values* as a mapping that does not change; a copy of them, whatever they were."""
    return FrozenDict(values)
