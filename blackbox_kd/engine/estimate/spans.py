"""Numbers that are not known: low, likely and high."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Case = Literal["low", "likely", "high"]
CASES: tuple[Case, ...] = ("low", "likely", "high")


@dataclass(frozen=True, slots=True)
class Span:
    """A number that is not known: its low, likely and high value."""

    low: float
    likely: float
    high: float

    @staticmethod
    def of(number: float) -> "Span":
        """A number that is known."""
        return Span(number, number, number)

    def at(self, case: Case) -> float:
        """Its value in a case."""
        return {"low": self.low, "likely": self.likely, "high": self.high}[case]

    def each(self, work: Callable[[float, float], float], other: "Span | float") -> "Span":
        """`work` on both low values, both likely ones and both high ones."""
        to = other if isinstance(other, Span) else Span.of(other)
        return Span(work(self.low, to.low), work(self.likely, to.likely), work(self.high, to.high))

    def __add__(self, other: "Span | float") -> "Span":
        return self.each(lambda a, b: a + b, other)

    def __mul__(self, other: "Span | float") -> "Span":
        return self.each(lambda a, b: a * b, other)

    def __truediv__(self, other: "Span | float") -> "Span":
        return self.each(lambda a, b: a / b, other)

    def percent(self) -> str:
        """A share as a person reads it."""
        return " / ".join(f"{100 * each:.0f}" for each in (self.low, self.likely, self.high)) + " %"

    def entry(self, digits: int | None = None) -> dict[str, float]:
        """As JSON holds it."""
        return {name: round(value, digits) for name, value in asdict(self).items()}


NOTHING = Span(0, 0, 0)


def add_up(values: Iterable[Span]) -> Span:
    """The sum of spans."""
    return sum(values, start=NOTHING)
