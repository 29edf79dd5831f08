"""What the Boxes of a fleet hold when it ends."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeldNumbers:
    """A Box's own report: it made the Measurements [first, next), and holds those from `floor` on."""

    first: int
    floor: int
    next: int
