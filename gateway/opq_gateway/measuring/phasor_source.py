"""PhasorSource: synchrophasors of one Box, made while the feed has a reader for them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from opq_gateway.measuring.feed import PhasorReport
from opq_measure.signal import SignalPiece
from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Pmu
from opq_proto.kit import log
from opq_proto.messages import TimeSource


@dataclass(frozen=True, slots=True)
class PhasorPlan:
    """The reports of a stream; C37.118.1, 5.4."""

    reports_per_s: int
    pmu_class: PmuClass


class PhasorSource:
    """Makes phasors from pieces of samples."""

    def __init__(self, box_id: str, nominal_hz: float, plan: PhasorPlan, wanted: Callable[[], bool]) -> None:
        """
        Raises:
            ValueError: see `Pmu`, e.g. a nominal frequency that is not a whole number.
        """
        self._box_id, self._wanted = box_id, wanted
        self._pmu = Pmu(nominal_hz, plan.reports_per_s, plan.pmu_class)

    def reports_of(self, piece: SignalPiece, clock: tuple[int, TimeSource]) -> list[PhasorReport]:
        """The reports that a piece completes; empty without a reader."""
        if not self._wanted():
            return []
        return [
            PhasorReport(
                self._box_id,
                each.time_ns,
                each.value,
                each.frequency_hz,
                each.rocof_hz_s,
                *clock,
                math.isfinite(each.angle_rad),
            )
            for each in self._pmu.push_samples(piece)
        ]


def phasors_of(
    box_id: str, nominal_hz: float, plan: PhasorPlan, wanted: Callable[[], bool]
) -> PhasorSource | None:
    """The source of a Box's phasors; None, which is logged, where its nominal frequency does not allow
    phasors."""
    try:
        return PhasorSource(box_id, nominal_hz, plan, wanted)
    except ValueError as error:
        log.get(service="gateway").error("phasors.none", box_id=box_id, reason=str(error))
        return None
