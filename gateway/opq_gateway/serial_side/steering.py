"""Steering: the time given to a run's samples; piecewise linear, slewed, never revised.

Where the target moves, the line continues from its place and approaches it at most at SLEW_RATE. A late
sample (sent again) gets the time stamp of the piece of its neighbours. Pure.
"""

from collections import deque
from dataclasses import dataclass

from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

SLEW_RATE = 50e-6
"""Seconds per second. The rate reported with the time stamps does not contain it, so that it does not change
the measured frequency."""
HURRIED_SLEW = 2e-3
"""Used where the time is off by more than a quarter of its bound: 250 ms in two minutes; time stamps do not
go back."""
MIN_SLEW_S = 10.0
PIECES_KEPT = 64
"""Five minutes of pieces: more than any Box sends again."""


@dataclass(frozen=True, slots=True)
class SteeringTarget:
    """The best estimate of the true time, from a sample on."""

    sample: int
    t_ns: float
    period_ns: float
    bound_ns: float | None
    """Bound of its error; None: not known."""
    drift: float
    """Largest drift of the true time until the next target, as a ratio."""
    source: TimeSource
    rate_millihz: int
    """The rate reported with the stamps."""


@dataclass(frozen=True, slots=True)
class SteeringPiece:
    """The line from a target's sample on: it begins at `t_ns` and reaches the target, `off_ns` away, after
    `slew_ns`."""

    target: SteeringTarget
    t_ns: int
    off_ns: int
    slew_ns: float

    def t_at(self, sample: int) -> int:
        """UTC of a sample."""
        elapsed_ns = (sample - self.target.sample) * self.target.period_ns
        share = min(1.0, max(0.0, elapsed_ns / self.slew_ns))
        return self.t_ns + round(elapsed_ns + self.off_ns * share)

    def uncertainty_ns(self, sample: int) -> int:
        """The target's bound, plus the remaining distance to it, plus the possible drift since."""
        if self.target.bound_ns is None:
            return UNKNOWN_UNCERTAINTY_NS
        elapsed_ns = abs(sample - self.target.sample) * self.target.period_ns
        bound_ns = self.target.bound_ns + self.left_ns(sample) + self.target.drift * elapsed_ns
        return min(round(bound_ns), UNKNOWN_UNCERTAINTY_NS)

    def left_ns(self, sample: int) -> float:
        """The remaining distance to the target."""
        elapsed_ns = abs(sample - self.target.sample) * self.target.period_ns
        return abs(self.off_ns) * max(0.0, 1 - elapsed_ns / self.slew_ns)


class Steering:
    """The line of one run."""

    def __init__(self) -> None:
        self._pieces: deque[SteeringPiece] = deque(maxlen=PIECES_KEPT)

    @property
    def begun(self) -> bool:
        return bool(self._pieces)

    def off_ns(self, target: SteeringTarget) -> int:
        """Distance from the line to the target."""
        return round(target.t_ns) - self.piece(target.sample).t_at(target.sample) if self._pieces else 0

    def steer_to(self, target: SteeringTarget, step: bool = False, slew: float = SLEW_RATE) -> int:
        """Approaches the target from its sample on, which must not have a stamp yet; with `step` at once.

        Returns:
            Nanoseconds from the line to the target.
        """
        target_ns, off_ns = round(target.t_ns), self.off_ns(target)
        slewed_ns = 0 if step else off_ns
        slew_ns = max(MIN_SLEW_S * 1e9, abs(slewed_ns) / slew)
        self._pieces.append(SteeringPiece(target, target_ns - slewed_ns, slewed_ns, slew_ns))
        return off_ns

    def piece(self, sample: int) -> SteeringPiece:
        """The piece that contains a sample; the oldest piece for an earlier sample."""
        for piece in reversed(self._pieces):
            if piece.target.sample <= sample:
                return piece
        return self._pieces[0]
