"""The records that a score compares: a true disturbance, and a stored incident; both per Box."""

from dataclasses import dataclass, field

from opq_measure.classification.severity import STEADY_STATES

JOIN_NS = 200_000_000
LONGEST_NS = 2_000_000_000
"""Onsets of one disturbance differ by 200 ms and their uncertainty, 2 s at most (docs/reference/contracts.md,
Findings)."""
EDGE_NS = 20_000_000
"""Limit after a disturbance's end within which an onset belongs to that end: the jump with which a neutral
comes back.
"""
COMPOUND_NS = 1_000_000_000
"""A disturbance this soon after another at one Box is part of it (docs/reference/contracts.md, Findings)."""
FOLLOWS_NS = 60_000_000_000
"""A disturbance this soon after another at one Box names it (docs/reference/contracts.md, Findings)."""
OPEN_NS = 2**62
"""End of a disturbance that never ended."""
FAMILIES = {"interruption": "sag", "undervoltage": "sag", "overvoltage": "swell"}
"""Classes that are one phenomenon at different depths and lengths."""
LINES = frozenset({"mains_signalling", "interharmonics"})
"""A telegram, and what it is called where no waveform shows its keying."""


@dataclass(frozen=True, slots=True)
class BoxSpan:
    """Span and class at one Box; `end_ns` may be the start."""

    kind: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int = 0
    side: str | None = None
    """Side of a fault: `downstream` or `upstream`; None: not known."""

    @property
    def families(self) -> frozenset[str]:
        """Families of the parts of its class."""
        return frozenset(FAMILIES.get(part, part) for part in self.kind.split("+"))

    @property
    def reach_ns(self) -> int:
        """Largest distance to another onset of the same disturbance."""
        return min(LONGEST_NS, JOIN_NS + self.uncertainty_ns)


@dataclass(frozen=True, slots=True)
class TrueDisturbance:
    """One line of truth.jsonl."""

    number: str
    kind: str
    scope: str | None
    boxes: dict[str, BoxSpan] = field(hash=False)
    cause: str = ""
    at: tuple[float, float] | None = None
    """(latitude, longitude) of its place, degrees; None: unknown."""


@dataclass(frozen=True, slots=True)
class FoundIncident:
    """One stored incident; `scope` and `follows` are None where the store does not know them."""

    number: int
    kind: str
    scope: str | None
    boxes: dict[str, BoxSpan] = field(hash=False)
    follows: int | None = None
    """Number of the previous incident."""
    cause: str | None = None
    """Its likeliest cause; None: not judged."""
    sides: dict[str, str] = field(default_factory=dict, hash=False)
    """Box -> `downstream` or `upstream`, as far as known."""
    centre: tuple[float, float] | None = None
    """(latitude, longitude), degrees: the mean of its Boxes, weighted; None: they have no coordinates."""

    @property
    def steady(self) -> bool:
        """True if every part of its class is a steady state."""
        return STEADY_STATES.issuperset(self.kind.split("+"))
