"""What a run found: figures, ratios with their goals, and what failed. Nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its unit, and the extremes it was taken from."""

    measure: str
    variant: str
    who: str
    unit: str
    value: float
    low: float
    high: float
    samples: int
    goal: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal, an upper bound, was met as printed; None without one."""
        return None if self.goal is None else round(self.value, 2) <= self.goal


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median over rounds of *who* divided by *to*, each round's pair measured side by side."""

    measure: str
    variant: str
    who: str
    to: str
    value: float
    low: float
    high: float
    samples: int
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal was met by the value as printed; None without one."""
        if self.goal is None:
            return None
        value = round(self.value, 2)
        return value >= self.goal if self.at_least else value <= self.goal


@dataclass(frozen=True, slots=True)
class Failure:
    """A contender that could not be measured, and why."""

    measure: str
    variant: str
    who: str
    reason: str


@dataclass
class Report:
    """Everything one run found."""

    environment: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_figure(
        self,
        measure: str,
        variant: str,
        who: str,
        unit: str,
        values: Sequence[float],
        goal: float | None = None,
    ) -> None:
        """Record the median of *values*; none at all records nothing."""
        if values:
            low, middle, high = _spread(values)
            taken = len(values)
            self.figures.append(Figure(measure, variant, who, unit, middle, low, high, taken, goal))

    def add_ratio(
        self,
        measure: str,
        variant: str,
        pair: tuple[str, str],
        values: tuple[Sequence[float], Sequence[float]],
        *,
        goal: float | None = None,
        at_least: bool = False,
    ) -> None:
        """Record the median of the round-by-round ratios; a missing side records nothing."""
        ratios = [ours / theirs for ours, theirs in zip(*values, strict=False) if theirs]
        if ratios:
            low, middle, high = _spread(ratios)
            taken = len(ratios)
            self.ratios.append(
                Ratio(measure, variant, *pair, middle, low, high, taken, goal, at_least)
            )

    def fail(self, measure: str, variant: str, who: str, error: BaseException | str) -> None:
        """Record that *who* could not be measured."""
        reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.failures.append(Failure(measure, variant, who, reason))

    @contextmanager
    def attempt(self, measure: str, variant: str, who: str) -> Iterator[None]:
        """Turn whatever goes wrong inside into a recorded failure."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a failed contender must not end the run
            self.fail(measure, variant, who, error)

    def figure(self, measure: str, variant: str, who: str) -> Figure | None:
        """Return one figure, if it was taken."""
        wanted = (measure, variant, who)
        for figure in self.figures:
            if (figure.measure, figure.variant, figure.who) == wanted:
                return figure
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "environment": self.environment,
            "figures": [asdict(figure) | {"met": figure.met} for figure in self.figures],
            "ratios": [asdict(ratio) | {"met": ratio.met} for ratio in self.ratios],
            "failures": [asdict(failure) for failure in self.failures],
            "notes": self.notes,
        }


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)
