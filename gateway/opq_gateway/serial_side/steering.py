"""Steering: the time that a run's samples are given; piecewise linear, slewed, never revised.

Where the target moves, the line goes on from where it is and approaches at SLEW at most. A sample
that comes late (sent again) gets the stamp of the piece that its neighbours had. Pure.
"""

from collections import deque
from dataclasses import dataclass

from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

SLEW = 50e-6
"""Seconds per second. The rate beside the stamps is without it, so that no frequency moves with it."""
HURRIED_SLEW = 2e-3
"""For time that is off by more than a quarter of its bound: 250 ms in two minutes, and no stamp goes back."""
LEAST_SLEW_S = 10.0
PIECES = 64
"""Five minutes of them: more than any Box sends again."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the truth is, from a sample on."""

    sample: int
    t_ns: float
    period_ns: float
    bound_ns: float | None
    """None: nobody knows how far off it may be."""
    drift: float
    """How fast the truth may move away until the next aim, relative."""
    source: TimeSource
    rate_millihz: int
    """What is reported beside the stamps."""


@dataclass(frozen=True, slots=True)
class SteeringPiece:
    """The line from an aim's sample on: begins at `t_ns`, meets the aim, `off_ns` on, `slew_ns` later."""

    aim: Aim
    t_ns: int
    off_ns: int
    slew_ns: float

    def t_at(self, sample: int) -> int:
        """UTC of a sample."""
        elapsed_ns = (sample - self.aim.sample) * self.aim.period_ns
        share = min(1.0, max(0.0, elapsed_ns / self.slew_ns))
        return self.t_ns + round(elapsed_ns + self.off_ns * share)

    def uncertainty_ns(self, sample: int) -> int:
        """Bound of the aim, what is left of the way there, and how far the truth may have moved since."""
        if self.aim.bound_ns is None:
            return UNKNOWN_UNCERTAINTY_NS
        elapsed_ns = abs(sample - self.aim.sample) * self.aim.period_ns
        bound_ns = self.aim.bound_ns + self.left_ns(sample) + self.aim.drift * elapsed_ns
        return min(round(bound_ns), UNKNOWN_UNCERTAINTY_NS)

    def left_ns(self, sample: int) -> float:
        """What is left of the way to the aim."""
        elapsed_ns = abs(sample - self.aim.sample) * self.aim.period_ns
        return abs(self.off_ns) * max(0.0, 1 - elapsed_ns / self.slew_ns)


class Steering:
    """The line of one run."""

    def __init__(self) -> None:
        self._pieces: deque[SteeringPiece] = deque(maxlen=PIECES)

    @property
    def begun(self) -> bool:
        return bool(self._pieces)

    def off_ns(self, aim: Aim) -> int:
        """From the line to the aim."""
        return round(aim.t_ns) - self.piece(aim.sample).t_at(aim.sample) if self._pieces else 0

    def go(self, aim: Aim, step: bool = False, slew: float = SLEW) -> int:
        """From the aim's sample on, which no stamp was given for yet, approach it; with `step` at once.

        Returns:
            Nanoseconds from the line to the aim.
        """
        target_ns, off_ns = round(aim.t_ns), self.off_ns(aim)
        slewed_ns = 0 if step else off_ns
        slew_ns = max(LEAST_SLEW_S * 1e9, abs(slewed_ns) / slew)
        self._pieces.append(SteeringPiece(aim, target_ns - slewed_ns, slewed_ns, slew_ns))
        return off_ns

    def piece(self, sample: int) -> SteeringPiece:
        """The piece that holds a sample; the oldest for one before all of them."""
        for piece in reversed(self._pieces):
            if piece.aim.sample <= sample:
                return piece
        return self._pieces[0]
