"""The Box's own look at its voltage: says at once that the rms of a cycle crossed a limit.

Off until the gateway sets limits (Command crossing limits: `dip=0.9,swell=1.1,interruption=0.1`, shares
of nominal). One nominal cycle per block, hysteresis of 2 % of nominal as in the contract.
"""

from collections.abc import Iterator

from opq_proto.link_messages import CrossingKind

HYSTERESIS = 0.02
KINDS = {kind.name.lower(): kind for kind in CrossingKind}


def parse_limits(argument: str) -> dict[CrossingKind, float]:
    """`dip=0.9,swell=1.1` as shares of nominal; an empty text sets none.

    Raises:
        ValueError: an unknown kind, or no share between 0 and 10.
    """
    limits = {}
    for part in argument.split(",") if argument else ():
        name, _, value = part.partition("=")
        if name not in KINDS:
            raise ValueError(f"want {', '.join(KINDS)}=share of nominal")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not 0 < share < 10:
            raise ValueError(f"{name}: want a share of nominal, above 0 and below 10")
        limits[KINDS[name]] = share
    return limits


class Crossings:
    """Which limits the rms is beyond."""

    def __init__(self, limits: dict[CrossingKind, float] | None = None) -> None:
        self.limits = limits or {}
        self._beyond: set[CrossingKind] = set()

    def look(self, share: float) -> Iterator[tuple[CrossingKind, bool, float]]:
        """(kind, entering, limit as a share) of every limit that an rms of `share` of nominal crosses now."""
        for kind, limit in self.limits.items():
            sign = 1 if kind == CrossingKind.SWELL else -1
            if kind not in self._beyond and sign * (share - limit) > 0:
                self._beyond.add(kind)
                yield kind, True, limit
            elif kind in self._beyond and sign * (share - limit) <= -HYSTERESIS:
                self._beyond.discard(kind)
                yield kind, False, limit
